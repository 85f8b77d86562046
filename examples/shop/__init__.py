"""A small shop: the program that the demo asks questions. Nothing in it knows that it is watched."""
