"""Keys of people: words, encrypted key files, accounts, passwords, and the record of what was signed."""
