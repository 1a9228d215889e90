"""What things are: typed views of the API kinds, the one table of kinds, and the document codec."""
