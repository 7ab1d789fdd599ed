"""What is wrong with what is filled into a WhatsApp template.

Source: WhatsApp Cloud API v23.0, schemas `TemplateObject`, `TemplateComponent`, `ButtonComponent`, `ParameterObject`
"""

import re
from typing import Final

from tidings.domain.whatsapp_fields import Found, bad, is_liquid, length, media, unique
from tidings.domain.whatsapp_template import Component, Document, File, Image, Template, Video

TEMPLATE_BUTTONS: Final = 10
PARAMETER_CHARS: Final = 32_768
_TEMPLATE: Final = re.compile(r"[a-z0-9_]{1,512}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(_[A-Z]{2,3})?")


def template(found: Template) -> Found:
    """All of it, but for what only the approved template knows (how many places it has)."""
    if not _TEMPLATE.fullmatch(found.name) and not is_liquid(found.name):
        yield bad("/template/name", "invalid", "must have lower-case letters, digits and underscores only")
    if not _LANGUAGE.fullmatch(found.language) and not is_liquid(found.language):
        yield bad("/template/language", "invalid", "must be a code of Meta's such as en, en_US or pt_BR")
    buttons = [component for component in found.components if component.type == "button"]
    if len(buttons) > TEMPLATE_BUTTONS:
        yield bad("/template/components", "length", f"at most {TEMPLATE_BUTTONS} buttons")
    yield from unique(
        [
            (f"/template/components/{n}", component.type if component.index is None else str(component.index))
            for n, component in enumerate(found.components)
        ]
    )
    for n, component in enumerate(found.components):
        yield from _component(f"/template/components/{n}", component)


#: What may be filled into which component; a button says by its `sub_type`.
_FILLS: Final[dict[str, frozenset[str]]] = {
    "header": frozenset({"text", "image", "video", "document"}),
    "body": frozenset({"text", "currency", "date_time"}),
    "quick_reply": frozenset({"payload"}),
    "url": frozenset({"text"}),
    "copy_code": frozenset({"coupon_code"}),
}


def _component(at: str, component: Component) -> Found:
    kind = component.type
    if kind == "button":
        if component.sub_type is None:
            yield bad(f"{at}/sub_type", "required", "a button is quick_reply, url or copy_code")
        if component.index is None or not 0 <= component.index < TEMPLATE_BUTTONS:
            yield bad(f"{at}/index", "range", f"must be the button's place, 0 to {TEMPLATE_BUTTONS - 1}")
        if len(component.parameters) != 1:
            yield bad(f"{at}/parameters", "length", "a button has one parameter")
        kind = component.sub_type or ""
    else:
        for name in ("sub_type", "index"):
            if getattr(component, name) is not None:
                yield bad(f"{at}/{name}", "conflict", "only a button has one")
        if kind == "header" and len(component.parameters) != 1:
            yield bad(f"{at}/parameters", "length", "a header has one parameter")
    fills = _FILLS.get(kind)
    for n, parameter in enumerate(component.parameters):
        where = f"{at}/parameters/{n}"
        tag = str(type(parameter).__struct_config__.tag)
        if fills is not None and tag not in fills:
            yield bad(f"{where}/type", "conflict", f"a {kind} takes {', '.join(sorted(fills))}")
        if isinstance(parameter, Image | Video | Document):
            medium: File = getattr(parameter, tag)
            yield from media(f"{where}/{tag}", medium, filename=tag == "document")
        elif isinstance(value := getattr(parameter, tag), str):
            yield from length(f"{where}/{tag}", value, PARAMETER_CHARS)
