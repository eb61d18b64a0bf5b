"""HTTP: the route table, one handler a file, and what they share."""
