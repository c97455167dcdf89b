"""Front ends that register with the router: the clients' socket and the image server's."""
