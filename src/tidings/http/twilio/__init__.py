"""The Twilio-compatible API: `/2010-04-01/Accounts/{sid}/Messages.json` over the same accept as `/v1/messages`."""
