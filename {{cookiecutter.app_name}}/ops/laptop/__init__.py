"""What a laptop needs in place of AWS. Nothing in here is deployed."""
