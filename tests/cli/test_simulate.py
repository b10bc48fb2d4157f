"""``eqlbond simulate``: every workload and option runs, and what is wrong with the arguments is said before that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eqlbond import Hdlc, Kiss, Ppp, Slip
from eqlbond.cli import main, simulate
from eqlbond.cli.simulate import sim_line
from eqlbond.core.half_duplex import HalfDuplex
from eqlbond.sim import LineSpec, SimLine

LINE = ["simulate", "--line", "9600", "--size", "2000"]


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("missing/bond.png", "there is no directory {}/missing"),
        ("", "{} is a directory"),
        ("bond.xyz", "a file that ends in .png, .svg or .pdf, not bond.xyz"),
    ],
)
def test_a_plot_that_cannot_be_saved_is_one_line_before_the_run(
    file: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")

    def compare(*arguments: Any, **options: Any) -> None:
        pytest.fail("it was simulated")

    monkeypatch.setattr(simulate, "compare", compare)
    assert main.main([*LINE, "--plot", str(tmp_path / file)]) == 1
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", f"eqlbond: plot: {problem.format(tmp_path)}\n")


@pytest.mark.parametrize(("name", "made"), [("bond.svg", "bond.svg"), ("bond", "bond.png")])
def test_a_plot_is_saved(name: str, made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main.main([*LINE, "--plot", str(tmp_path / name)]) == 0
    assert (tmp_path / made).stat().st_size > 1000
    assert "9600" in capsys.readouterr().out


def simulated(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main.main(["simulate", *arguments]) == 0
    written = capsys.readouterr()
    assert written.err == ""
    return written.out


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The figures of the only run."""
    (results,) = json.loads(simulated(capsys, "--json", *arguments)).values()
    (result,) = results
    assert isinstance(result, dict)
    return result


TWO = ("--line", "57600", "--line", "28800")


@pytest.mark.parametrize(
    ("workload", "sent", "payload"),
    [
        (["bulk", "--size", "3000"], 2, 3000),
        (["bulk", "--size", "3000", "--packet-size", "500"], 6, 3000),
        (["bulk", "--size", "3000", "--packet-size", "40,576"], None, 3000),
        (["bulk", "--size", "3000", "--packet-size", "40:7,576:4"], None, 3000),
        (["tcp", "--size", "3000"], 3, 3120),  # headers of 40 bytes in each of three segments
        (["poisson", "--duration", "5"], None, None),
        (["poisson", "--duration", "5", "--load", "0.3", "--packet-size", "100"], None, None),
        (["cbr", "--duration", "5", "--rate", "1600"], 5, 1000),
        (["cbr", "--duration", "5", "--rate", "1600", "--packet-size", "100"], 10, 1000),
        (["bursts", "--packet-size", "50"], 200, 10000),
        (["requests", "--size", "100"], 50, 50 * 64),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_workloads(
    workload: list[str], sent: int | None, payload: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    result = figures(capsys, *TWO, "--workload", *workload)
    assert result["sent"] == result["delivered"] > 0
    assert sent in (None, result["sent"])
    assert payload in (None, result["payload_bytes"])


def test_the_default_is_the_file_of_1995(capsys: pytest.CaptureFixture[str]) -> None:
    result = figures(capsys, "--line", "115200", "--mtu", "900", "--frames", "size")
    assert (result["payload_bytes"], result["sent"]) == (289284, 322)
    answers = figures(capsys, "--line", "3000000", "--workload", "requests", "--frames", "size", "--until", "60")
    assert answers["back"]["payload_bytes"] == 50 * 289284


def test_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "packets.csv"
    file.write_text("# seconds,bytes,flow,priority\n0,100\n\n0.5,200,3\n1,300,4,1\n")
    result = figures(capsys, *TWO, "--workload", "trace", "--trace", str(file))
    assert (result["sent"], result["payload_bytes"]) == (3, 600)


def test_output(capsys: pytest.CaptureFixture[str]) -> None:
    """One result for one scheduler and seed; a table for several; all of it as JSON."""
    line = ["--line", "9600", "--size", "3000"]
    assert "efficiency" in simulated(capsys, *line)
    out = simulated(capsys, *line, "--runs", "2")
    assert [row.split()[0] for row in out.splitlines()[-1:]] == ["earliest"]
    out = simulated(capsys, *line, "--scheduler", "eql", "--scheduler", "round-robin")
    assert [row.split()[0] for row in out.splitlines()[-2:]] == ["eql", "round-robin"]
    out = simulated(
        capsys, *line, "--scheduler", "eql", "--scheduler", "earliest", "--runs", "3", "--seed", "7", "--json"
    )
    results = json.loads(out)
    assert {name: [result["seed"] for result in runs] for name, runs in results.items()} == {
        "eql": [7, 8, 9], "earliest": [7, 8, 9],
    }  # fmt: skip


def test_multilink(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*TWO, "--workload", "cbr", "--rate", "2400", "--packet-size", "600", "--duration", "10"]
    plain, bundled = figures(capsys, *arguments), figures(capsys, *arguments, "--multilink")
    assert bundled["delivered"] == bundled["sent"] == plain["sent"]
    assert bundled["delay_p50"] < plain["delay_p50"]  # in fragments over both lines


def test_until(capsys: pytest.CaptureFixture[str]) -> None:
    assert figures(capsys, *TWO, "--until", "1")["duration"] <= 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("9600", SimLine(9600)),
        (
            "28800,bits_per_byte=8,latency=0.08,jitter=0.02,byte_error_rate=1e-6,loss=0.01,buffer=64,name=modem",
            SimLine(
                28800,
                bits_per_byte=8,
                latency=0.08,
                jitter=0.02,
                byte_error_rate=1e-6,
                loss=0.01,
                buffer=64,
                name="modem",
            ),
        ),
        (
            "9600,cut_at=20/60,revive_at=30,cut=silence,rate_changes=5:4800/9:9600",
            SimLine(9600, cut_at=(20, 60), revive_at=30, cut="silence", rate_changes=((5, 4800), (9, 9600))),
        ),
        ("28800,loss=0.01,buffer=64,name=modem", SimLine(28800, loss=0.01, buffer=64, name="modem")),
        ("9600,nominal_rate=4800,nominal_latency=0.3", SimLine(9600, nominal_rate=4800, nominal_latency=0.3)),
        ("9600,tells_queue=yes,priority=3,mtu=2000", SimLine(9600, tells_queue=True, priority=3, mtu=2000)),
        ("9600,tells_queue=off", SimLine(9600)),
        ("1200,half_duplex=on,turns=1", SimLine(1200, half_duplex=True, turns=HalfDuplex())),
        ("1200,turns=burst:5/slot:0.2", SimLine(1200, turns=HalfDuplex(burst=5, slot=0.2))),
        ("9600,back=1200", SimLine(9600, back=LineSpec(1200, buffer=None))),
        (
            "9600,latency=0.2,back=1200/loss:0.1",
            SimLine(9600, latency=0.2, back=LineSpec(1200, latency=0.2, loss=0.1, buffer=None)),
        ),
        (
            "9600,back=latency:0.5,latency=0.1",
            SimLine(9600, latency=0.1, back=LineSpec(9600, latency=0.5, buffer=None)),
        ),
        ("9600,back=9600/buffer:99", SimLine(9600, back=LineSpec(9600, buffer=99))),
        ("9600,framing=slip", SimLine(9600, framing=Slip())),
        ("9600,framing=kiss", SimLine(9600, framing=Kiss())),
        ("9600,framing=hdlc", SimLine(9600, framing=Hdlc())),
        ("9600,framing=ppp", SimLine(9600, framing=Ppp())),
        ("9600,framing=eqlbond.codec.kiss:Kiss", SimLine(9600, framing=Kiss())),
    ],
)
def test_lines(text: str, line: SimLine) -> None:
    assert sim_line(text) == line


@pytest.mark.parametrize("framing", ["slip", "kiss", "hdlc", "ppp"])
def test_framings_run(framing: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"9600,framing={framing},nominal_latency=0.1,back=4800/latency:0.2"
    result = figures(capsys, "--line", line, "--workload", "requests", "--size", "100")
    assert result["delivered"] == 50


LINES = "there are: back, bits_per_byte, buffer, byte_error_rate, cut,"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        # lines
        (["--line", "fast"], "line fast: begins with the rate in bit/s, not 'fast'"),
        (["--line", "0"], "rate: 0.0 cannot be; give bit/s above 0"),
        (["--line", "nan"], "rate: nan cannot be"),
        (["--line", "9600,latncy=1"], f"line 9600,latncy=1: no option 'latncy'; {LINES}"),
        (["--line", "9600,"], "no option ''; there are"),
        (["--line", "9600,half_duplex"], "half_duplex: needs its value, half_duplex=...: 1 or 0"),
        (["--line", "9600,half_duplex=true"], "half_duplex: 1 or 0, not 'true'"),
        (["--line", "9600,tells_queue=True"], "tells_queue: 1 or 0, not 'True'"),
        (["--line", "9600,turns=true"], "turns: 1 or 0, or numbers such as turnaround:0.5/burst:5, not 'true'"),
        (["--line", "9600,turns=bust:5"], "no option 'bust'; there are: turnaround, burst"),
        (["--line", "9600,latency=long"], "latency: a number, not 'long'"),
        (["--line", "9600,latency=-1"], "latency: -1.0 cannot be; give seconds, 0 or more"),
        (["--line", "9600,loss=1.2"], "loss: 1.2 cannot be; give a probability"),
        (["--line", "9600,buffer=1.5"], "buffer: a whole number, not '1.5'"),
        (["--line", "9600,cut_at=soon"], "cut_at: seconds, one time or several such as 20/60, not 'soon'"),
        (["--line", "9600,cut_at=60/20"], "cut_at: the times (60.0, 20.0) must rise"),
        (["--line", "9600,cut=quiet"], "cut: hangup or silence, not 'quiet'"),
        (["--line", "9600,rate_changes=5"], "rate_changes: times and rates such as 10:9600/20:57600, not '5'"),
        (["--line", "9600,rate_changes=5:0"], "rate_changes: bit/s above 0, not 0.0"),
        (["--line", "9600,nominal_latency=-1"], "nominal_latency: seconds from 0, not -1.0"),
        (["--line", "9600,back=slow"], "numbers such as 1200/latency:0.5/loss:0.1, not 'slow'"),
        (["--line", "9600,back=1200/speed:3"], "back: no option 'speed'; there are: rate, bits_per_byte"),
        (["--line", "9600,back=1200/4800"], "back: no option '4800'"),
        (["--line", "9600,back=0"], "rate: 0.0 cannot be"),
        (["--line", "9600,framing=slipp"], "did you mean 'slip'?"),
        (["--line", "9600,framing=no_such_module:Thing"], "framing: no_such_module:Thing cannot be imported"),
        (["--line", "9600,framing=eqlbond.sim:SimLine"], "framing: eqlbond.sim:SimLine cannot be made: TypeError"),
        (["--line", "9600,name=a", "--line", "4800,name=a"], "lines: two lines have one name: a, a"),
        (["--multilink", "--line", "9600,framing=kiss"], "Multilink needs Ppp()"),
        (["--frames", "size", "--line", "9600,framing=ppp"], "which needs frames='codec'"),
        # what the workload does not read, or not so
        (["--load", "0.5"], "--load: not read by the workload bulk, but by poisson, cbr"),
        (["--rate", "1000"], "--rate: not read by the workload bulk, but by poisson, cbr"),
        (["--duration", "60"], "--duration: not read by the workload bulk, but by poisson, cbr"),
        (["--trace", "x.csv"], "--trace: not read by the workload bulk, but by trace"),
        (["--workload", "tcp", "--packet-size", "900"], "--packet-size: not read by the workload tcp, but by bulk,"),
        (["--workload", "cbr", "--packet-size", "40,576"], "--packet-size: cbr sends packets of one size, not of 2"),
        (["--workload", "cbr", "--packet-size", "40:1"], "--packet-size: cbr sends packets of one size, not of 1"),
        (["--workload", "cbr", "--size", "9"], "--size: not read by the workload cbr, but by bulk, tcp, requests"),
        (["--workload", "poisson", "--size", "9"], "--size: not read by the workload poisson"),
        (["--workload", "bursts", "--load", "1"], "--load: not read by the workload bursts"),
        (["--workload", "bursts", "--duration", "1"], "--duration: not read by the workload bursts"),
        (["--workload", "requests", "--packet-size", "9"], "--packet-size: not read by the workload requests"),
        (["--workload", "trace", "--size", "9"], "--size: not read by the workload trace"),
        (["--workload", "trace"], "trace: --workload trace needs --trace FILE"),
        (["--workload", "trace", "--trace", "/absent"], "trace: /absent cannot be read: No such file"),
        (["--workload", "poisson", "--load", "0.5", "--rate", "9"], "load: give either load"),
        (["--workload", "poisson", "--load", "0"], "load: a number above 0, not 0.0"),
        (["--workload", "cbr", "--rate", "-1"], "rate: a number above 0, not -1.0"),
        (["--workload", "cbr", "--duration", "0"], "duration: a number above 0, not 0.0"),
        # values that cannot be
        (["--size", "0"], "size: a whole number above 0, not 0"),
        (["--packet-size", "0"], "packet_size: "),
        (["--packet-size", "2000"], "packet_size: "),
        (["--workload", "cbr", "--packet-size", "0"], "size: "),
        (["--workload", "bursts", "--packet-size", "0"], "sizes: "),
        (["--mtu", "0"], "mtu: "),
        (["--runs", "0"], "--runs: a number of seeds from 1, not 0"),
        (["--until", "0"], "until: seconds above 0"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = [] if "--line" in arguments else ["--line", "9600"]
    assert main.main(["simulate", *line, *arguments]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("eqlbond: ")
    assert problem in written.err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("0\n", "rows of seconds,bytes[,flow[,priority]]: not '0'"),
        ("0,1,2,3,4\n", "not '0,1,2,3,4'"),
        ("0,many\n", "invalid literal"),
        ("1,100\n0,100\n", "trace: times must rise: 0.0 after 1.0"),
        ("", "it sends nothing"),
        ("0,\0\n", "rows of seconds,bytes"),
    ],
)
def test_bad_traces(content: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "packets.csv"
    file.write_text(content)
    assert main.main(["simulate", *TWO, "--workload", "trace", "--trace", str(file)]) == 1
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "required: --line"),
        (["--line", "9600", "--size", "many"], "--size: invalid int value: 'many'"),
        (
            ["--line", "9600", "--packet-size", "40,x"],
            "or 40:7,576:4,1500:1, not '40,x'",
        ),
        (["--line", "9600", "--workload", "torrent"], "invalid choice: 'torrent'"),
        (["--line", "9600", "--scheduler", "fair"], "invalid choice: 'fair'"),
    ],
)
def test_usage(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["simulate", *arguments])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err
