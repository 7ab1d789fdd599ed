"""What a person wrote in answer to a mail, without the mail that it answers.

Mail programs quote in a few dozen ways; the rules here know the lines with which they begin a quotation, in the languages
that most of them speak. Where nothing is recognised, nothing is cut. `>` lines within an answer stay: those at its end go.
"""

import re
from html.parser import HTMLParser
from typing import Final

#: Lines that only a mail program writes. Each stands before what is quoted.
_DIVIDERS: Final = re.compile(
    r"""^\s*(?:
      -{2,}\s*(?:original\s+message|forwarded\s+message|ursprüngliche\s+nachricht|weitergeleitete\s+nachricht|
        message\s+d'origine|message\s+original|mensaje\s+original|messaggio\s+originale|mensagem\s+original|
        oorspronkelijk\s+bericht|original-nachricht|原始邮件|原始郵件|исходное\s+сообщение|元のメッセージ)\s*-{2,}
      | _{20,}
      | -{3,}\s*on\b.*
    )\s*$""",
    re.IGNORECASE | re.VERBOSE,
)
#: `On Mon, 3 Nov 2025 at 10:00, Ann <ann@example.com> wrote:` and its translations, on one line or wrapped onto two.
_WROTE: Final = re.compile(
    r"""^\s*(?:>\s*)?(?:
      on\s.{1,300}\swrote\s*:
      | am\s.{1,300}\sschrieb\b.{0,200}:
      | .{1,300}\sschrieb\s+am\s.{1,100}:
      | le\s.{1,300}\sa\s+écrit\s*:
      | el\s.{1,300}\sescribió\s*:
      | il\s.{1,300}\sha\s+scritto\s*:
      | em\s.{1,300}\sescreveu\s*:
      | op\s.{1,300}\s(?:schreef|heeft)\b.{0,200}:
      | den\s.{1,300}\sskrev\b.{0,200}:
      | w\s+dniu\s.{1,300}\s(?:napisał|pisze)\b.{0,60}:
      | .{1,300}\s(?:пишет|написал(?:\(а\)|а)?)\s*:
      | .{1,200}于\s?\d{4}.{1,100}写道\s?[:：]
      | .{1,200}\d{4}.{1,200}(?:のメール|写道|寫道)\s*[:：]
    )\s*$""",
    re.IGNORECASE | re.VERBOSE,
)
#: The first line of the block of headers with which Outlook begins.
_FROM: Final = re.compile(
    r"^\s*\*?(?:from|von|de|da|van|från|fra|od|от|发件人|寄件者|差出人)\s*[:：]\*?\s*\S", re.IGNORECASE
)
_NEXT: Final = re.compile(
    r"^\s*\*?(?:sent|date|gesendet|datum|envoyé|date|enviado(?:\s+el)?|fecha|inviato|data|verzonden|skickat|sendt|wysłano|"
    r"отправлено|дата|to|an|à|para|a|aan|发送时间|收件人|日期|送信日時)\s*[:：]",
    re.IGNORECASE,
)
_MOBILE: Final = re.compile(
    r"^\s*(?:sent from my \w.{0,40}|von meinem \w.{0,40} gesendet|envoyé de mon \w.{0,40}|enviado desde mi \w.{0,40}|"
    r"get outlook for \w.{0,60})\s*$",
    re.IGNORECASE,
)
_LINE_CHARS: Final = 1_000  # longer lines are no mail program's
_LINES: Final = 5_000


def stripped(text: str) -> str:
    """The words of the answer itself; the whole text where cutting would leave nothing."""
    lines = text.replace("\r\n", "\n").split("\n")[:_LINES]
    end = next((n for n in range(len(lines)) if _begins_quotation(lines, n)), len(lines))
    kept = lines[:end]
    while kept and (not kept[-1].strip() or kept[-1].lstrip().startswith(">")):
        kept.pop()
    kept = _without_signature(kept)
    found = "\n".join(kept).strip()
    return found or text.strip()


def _begins_quotation(lines: list[str], n: int) -> bool:
    line = lines[n]
    if len(line) > _LINE_CHARS or not line.strip():
        return False
    if _DIVIDERS.match(line) or (_ends(line) and _WROTE.match(line)):
        return True
    after = lines[n + 1] if n + 1 < len(lines) else ""
    if _ends(after) and _WROTE.match(f"{line.rstrip()} {after.strip()}"):
        return True
    return bool(_FROM.match(line)) and any(_NEXT.match(other[:200]) for other in lines[n + 1 : n + 4])


def _ends(line: str) -> bool:
    return len(line) <= _LINE_CHARS and line.rstrip().endswith((":", "："))


def _without_signature(lines: list[str]) -> list[str]:
    """Without what follows `-- ` (RFC 3676 §4.3), and the line with which a phone signs."""
    for n in range(len(lines) - 1, -1, -1):
        if lines[n] in ("-- ", "--"):
            lines = lines[:n]
            break
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines[:-1] if lines and _MOBILE.match(lines[-1]) else lines


class _Plain(HTMLParser):
    """The text of HTML, with `>` before what is in a blockquote."""

    _BREAKS: Final = frozenset(
        {"p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "hr"}
    )
    _HIDDEN: Final = frozenset({"style", "script", "head", "title", "template"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = self._quoted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in self._HIDDEN:
            self._hidden += 1
        elif tag == "blockquote":
            self._quoted += 1
            self._break()
        elif tag in self._BREAKS:
            self._break()

    def handle_endtag(self, tag: str) -> None:
        if tag in self._HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "blockquote":
            self._quoted = max(0, self._quoted - 1)
            self._break()
        elif tag in self._BREAKS and tag not in ("br", "hr"):
            self._break()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(re.sub(r"\s+", " ", data))

    def _break(self) -> None:
        self.pieces.append("\n" + ">" * self._quoted)


def text_of_html(html: str) -> str:
    """HTML as text: blocks become lines, quotations are marked by `>`."""
    reader = _Plain()
    reader.feed(html)
    reader.close()
    lines = [re.sub(r"[ \t]+", " ", line).strip() for line in "".join(reader.pieces).split("\n")]
    text = "\n".join("" if set(line) <= {">"} else line for line in lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
