"""What operators ask and are told: the way to the receiver, the lag, incidents."""
