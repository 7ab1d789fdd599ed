"""The words of an answer, freed of what it quotes."""

from __future__ import annotations

import pytest

from tidings.protocols.mail.reply import stripped, text_of_html

QUOTED = "> Hello\n> there\n"
ANSWERS = [
    f"Yes\n\nOn Mon, 3 Nov 2025 at 10:00, Ann <ann@example.com> wrote:\n{QUOTED}",
    f"Yes\n\nOn Mon, 3 Nov 2025 at 10:00, Ann Example\n<ann@example.com> wrote:\n{QUOTED}",
    f"Yes\n\nAm 03.11.2025 um 10:00 schrieb Ann <ann@example.com>:\n{QUOTED}",
    f"Yes\n\nAnn <ann@example.com> schrieb am Mo., 3. Nov. 2025, 10:00:\n{QUOTED}",
    f"Yes\n\nLe lun. 3 nov. 2025 à 10:00, Ann <ann@example.com> a écrit :\n{QUOTED}",
    f"Yes\n\nEl lun, 3 nov 2025 a las 10:00, Ann (<ann@example.com>) escribió:\n{QUOTED}",
    f"Yes\n\nIl giorno lun 3 nov 2025 alle ore 10:00 Ann <ann@example.com> ha scritto:\n{QUOTED}",
    f"Yes\n\nEm seg., 3 de nov. de 2025 às 10:00, Ann <ann@example.com> escreveu:\n{QUOTED}",
    f"Yes\n\nOp ma 3 nov 2025 om 10:00 schreef Ann <ann@example.com>:\n{QUOTED}",
    f"Yes\n\nDen mån 3 nov. 2025 kl 10:00 skrev Ann <ann@example.com>:\n{QUOTED}",
    f"Yes\n\nпн, 3 нояб. 2025 г. в 10:00, Ann <ann@example.com> пишет:\n{QUOTED}",
    f"Yes\n\nAnn <ann@example.com> 于2025年11月3日周一 10:00写道：\n{QUOTED}",
    "Yes\n\n-----Original Message-----\nFrom: Ann\nSent: Monday\n\nHello\n",
    "Yes\n\n-------- Ursprüngliche Nachricht --------\nVon: Ann\n",
    "Yes\n\n________________________________\nFrom: Ann <ann@example.com>\nSent: Monday\nTo: Bob\nSubject: x\n\nHello",
    "Yes\n\nFrom: Ann <ann@example.com>\nSent: Monday, November 3\nTo: Bob\n\nHello",
    "Yes\n\nVon: Ann\nGesendet: Montag\nAn: Bob\n\nHallo",
    "Yes\n\n*From:* Ann\n*Date:* Monday\n\nHello", f"Yes\n\n{QUOTED}", "Yes\n-- \nBob\nBob Ltd.", "Yes\n\nSent from my iPhone",
    "Yes\n\nVon meinem iPhone gesendet\n\n> Am 3.11. schrieb Ann:\n> Hallo",
    "Yes\n\nGet Outlook for iOS<https://aka.ms/x>\n", "Yes", "  Yes  \n\n",
    "Yes\r\n\r\nOn Monday Ann wrote:\r\n> x",
]  # fmt: skip


@pytest.mark.parametrize("text", ANSWERS)
def test_cut(text: str) -> None:
    assert stripped(text) == "Yes"


KEPT = [
    "On Monday I wrote: a poem\nand more", "He wrote:\nhello", "> quoted first\n\nMy answer below",
    "From: here to there it is far\nYes",
    "Dear Ann,\n\n> which one?\nThe red one.\n\n> when?\nFriday", "a -- b", "The price:\n10 €", "Date: tomorrow?\nTo: my place",
]  # fmt: skip


@pytest.mark.parametrize("text", KEPT)
def test_kept(text: str) -> None:
    assert stripped(text) == text


@pytest.mark.parametrize("text", [QUOTED, "On Monday, Ann wrote:\n> x", "-- \nBob"])
def test_nothing_is_cut_to_nothing(text: str) -> None:
    assert stripped(text) == text.strip()


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Yes</p><p>No &amp; &lt;b&gt;", "Yes\n\nNo & <b>"), ("a<br>b<br/>c", "a\nb\nc"),
        ("<style>p{}</style><script>x</script>y", "y"),
        ("<div>Yes</div><blockquote>Hello<br>there</blockquote>", "Yes\n\n>Hello\n>there"), ("a\n  b\t c", "a b c"), ("",
         ""), ("<", "<"),
        ("<head><title>t</title></head><body>x", "x"),
    ],
)  # fmt: skip
def test_html(html: str, text: str) -> None:
    assert text_of_html(html) == text


def test_html_answers() -> None:
    html = "<div>Yes</div><div>On Mon, Ann &lt;ann@example.com&gt; wrote:<br><blockquote>Hello</blockquote></div>"
    assert stripped(text_of_html(html)) == "Yes"
