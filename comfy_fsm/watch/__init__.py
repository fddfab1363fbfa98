"""Shows a log while another process writes it: on a terminal or as a page. Only reads."""
