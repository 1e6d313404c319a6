"""Networks and programs of others that judge a video; none is needed, what is absent measures nothing."""
