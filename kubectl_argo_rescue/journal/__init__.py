"""What we did: immutable records, an entry as their fold, the two homes, claims, what is still owed.

Records, their encoding, entries and debts are pure; the homes touch this machine's state folder
and ConfigMaps, and nothing else. Nothing of a record is believed that its edit's role does not allow."""
