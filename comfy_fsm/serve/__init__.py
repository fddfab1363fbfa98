"""Shows a log as a web page while another process writes it. Only reads."""
