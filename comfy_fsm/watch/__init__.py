"""Shows a log on a terminal while another process writes it. Only reads."""
