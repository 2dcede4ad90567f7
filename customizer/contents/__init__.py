"""What is in an image: its inventory, what two inventories differ in, and the documents that are made of them."""
