"""One run: from its configuration to a network, its training, its test and what is kept of both."""
