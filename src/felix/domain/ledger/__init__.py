"""Token accounts: lots, holds, debits, debt, caps and adjustments, in double entry."""
