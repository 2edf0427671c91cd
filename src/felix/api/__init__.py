"""The API answers: a thin layer that checks, authorises, hands commands to the lanes and serves the projected reads."""
