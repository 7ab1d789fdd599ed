"""GSM 03.38 text, user data headers, segmentation."""
