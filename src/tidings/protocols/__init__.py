"""Sans-I/O codecs. They import nothing of ours."""
