"""XML that others wrote or will read: no text breaks a file of ours, no file makes its reader expand entities."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from deocclude.errors import InputError

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot say in any spelling: control characters and lone surrogates."""


def legal_text(text: str) -> str:
    """The text with U+FFFD for each character that XML does not have. Escaping is the writer's."""
    return _ILLEGAL.sub("\ufffd", text)


def parse_xml(content: bytes) -> ElementTree.Element:
    """The root of an XML document in UTF-8. Raises InputError where it is none or declares a document type.

    Entities are declared in a document type; without one there are no bombs of entities and nothing from outside.
    """
    try:
        text = content.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError("its XML declares a document type, which is not read")
        # Encoded again: ElementTree refuses a str that has an encoding declaration.
        return ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise error if isinstance(error, InputError) else InputError(f"its XML is damaged ({error})") from error
