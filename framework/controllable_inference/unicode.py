"""Strings that are no text."""


def fault_of(text: str) -> str | None:
    """What is wrong with a string that neither UTF-8 nor a tokenizer can take, None if nothing is.

    JSON can write half of a surrogate pair ("\\ud83d"), and Python puts one in the place of each byte of a
    command line that is not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        return f"must be Unicode text, but has {half}, one half of a surrogate pair"
    return None
