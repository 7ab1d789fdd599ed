"""The style sheet of the report: two colour schemes, one set of names."""

from typing import Final

STYLE: Final = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5d6b7c;--line:#e1e6ec;--good:#147a4b;--goodbg:#e5f5ec;--bad:#b3261e;
--badbg:#fdeceb;--warn:#8a5a00;--warnbg:#fff4dc;--s1:#2f6fde;--s2:#c2417c;--s3:#0f8f83;--s4:#b8751a;--s5:#9aa7b6}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2028;--ink:#e8edf3;--soft:#93a1b2;--line:#2b343f;
--good:#5fd39b;--goodbg:#14301f;--bad:#ff8f86;--badbg:#3a1a18;--warn:#f0c060;--warnbg:#33280f;--s1:#77a6ff;--s2:#f083b4;
--s3:#4fd1c5;--s4:#f0b35e;--s5:#66727f}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1000px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:30px;line-height:1.2;margin:4px 0 6px;letter-spacing:-.01em}
h2{font-size:18px;margin:0 0 12px}h2 small{font-weight:400;color:var(--soft);font-size:14px;margin-left:6px}
h3{font-size:14px;margin:0 0 6px;color:var(--soft);font-weight:600}
p{margin:0}
header{border-radius:14px;padding:22px 26px;margin-bottom:20px;background:var(--card);border:1px solid var(--line);
border-left:6px solid var(--s5)}
header p{color:var(--soft)}header p+p{margin-top:8px}header .eyebrow{font-size:13px;margin:0}
header.good{border-left-color:var(--good);background:var(--goodbg)}header.good h1{color:var(--good)}
header.bad{border-left-color:var(--bad);background:var(--badbg)}header.bad h1{color:var(--bad)}
header.warn{border-left-color:var(--warn);background:var(--warnbg)}header.warn h1{color:var(--warn)}
section{margin:0 0 20px;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:20px 24px}
.cards,.faults{display:grid;gap:14px;background:none;border:0;padding:0;margin-bottom:14px}
.cards{grid-template-columns:repeat(auto-fit,minmax(200px,1fr))}
.faults{grid-template-columns:repeat(6,1fr);margin-bottom:20px}
.cards div,.faults div{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px 18px}
.cards span,.cards small,.faults small{display:block;color:var(--soft);font-size:13px}
.cards b{display:block;font-size:28px;line-height:1.25;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
.faults div{padding:12px 14px}.faults b{font-size:22px;display:block;font-variant-numeric:tabular-nums}
.faults span{display:block;font-weight:600;font-size:14px}.faults small{font-size:12px;line-height:1.35;margin-top:2px}
.faults .good b{color:var(--good)}.faults .bad{border-color:var(--bad);background:var(--badbg)}.faults .bad b{color:var(--bad)}
.faults .none b{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);font-weight:400}
th{color:var(--soft);font-size:13px}tr:last-child td,tr:last-child th{border-bottom:0}
td:first-child,th:first-child{text-align:left;padding-left:0}
td:nth-child(2):not(.numbers td):not(.account td),th:nth-child(2):not(.numbers th){text-align:left}
tr.good td:first-child{color:var(--good)}tr.bad td{color:var(--bad);font-weight:600}
.facts th{width:240px;vertical-align:top}.facts td{text-align:left!important;overflow-wrap:anywhere}
.numbers{margin-bottom:16px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:32px}
.account td{padding:5px 8px}.account td small{display:block;color:var(--soft);font-size:12px;line-height:1.3}
.account td:nth-child(2){font-weight:600}.account .nil td{color:var(--soft);font-weight:400}
.account .share{width:90px}.account .share i{display:block;height:6px;border-radius:3px;background:var(--s1)}
.account .nil i{background:none}.account .bad i{background:var(--bad)}
figure{margin:0 0 14px}figure:last-child{margin-bottom:0}
figcaption{font-size:13px;color:var(--soft);display:flex;gap:16px;flex-wrap:wrap;align-items:baseline;margin-bottom:2px}
figcaption b{color:var(--ink);font-weight:600;margin-right:auto}
svg{display:block;width:100%;height:auto}
.key::before{content:"";display:inline-block;width:14px;height:3px;border-radius:2px;background:var(--c);margin-right:6px;
vertical-align:middle}
.key.thin::before{opacity:.5}
.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}.s5{--c:var(--s5)}
.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}.line.thin{stroke-width:1.25;opacity:.6}
.line.s5{stroke-dasharray:4 4;stroke-width:1.5}
.area{fill:var(--c);opacity:.12}.dot,.bar{fill:var(--c)}.bar{opacity:.85}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--s5);stroke-width:1;fill:none}
.tick,.note{fill:var(--soft);font:11px system-ui,sans-serif}.note{fill:var(--ink)}
.mark{stroke:var(--ink);stroke-width:1;stroke-dasharray:3 3;opacity:.55}
@media (max-width:760px){.faults{grid-template-columns:repeat(3,1fr)}.pair{grid-template-columns:1fr}
section{padding:16px;overflow-x:auto}}
@media print{body{background:#fff}section,header{break-inside:avoid}}
"""
