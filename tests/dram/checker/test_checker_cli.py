"""`ndpsim check` as a user meets it."""

import json

import pytest
from cli_support import refused, run
from dram.logs import act, command_log, pre, rd

from ndpsim.dram.log.log import write_log

HEADER = "cycle,command,rank,bank_group,bank,row,column"


@pytest.fixture
def two_ranks_csv(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "\n".join([HEADER, "0,ACT,0,0,0,7,", "1,ACT,1,0,0,7,", "22,RD,0,0,0,7,0", "28,RD,1,0,0,7,0"]) + "\n"
    )
    return path


def test_a_csv_of_more_ranks_than_the_preset_has_is_judged(capsys, two_ranks_csv):
    code, out, _ = run(capsys, "check", two_ranks_csv, "--standard", "DDR4-3200AA")
    assert code == 0 and out == f"{two_ranks_csv}: 4 commands, all legal by DDR4-3200AA\n"
    code, out, _ = run(capsys, "check", two_ranks_csv, "--standard", "DDR4-3200AA", "--ranks", 1)
    assert code == 1 and "violations of DDR4-3200AA: address 2\n" in out


def test_the_first_violation_of_each_rule_is_shown_with_its_two_commands(capsys, two_ranks_csv):
    more = ["32,RD,1,0,0,7,1", "36,RD,1,0,0,7,2", "80,PRE,0,0,0,,", "90,ACT,0,0,0,8,"]
    two_ranks_csv.write_text(two_ranks_csv.read_text() + "\n".join(more))
    code, out, _ = run(capsys, "check", two_ranks_csv, "--standard", "DDR4-3200AA", "--set", "nRTRS=3")
    assert code == 1
    assert out.splitlines() == [
        f"{two_ranks_csv}: 8 commands, violations of DDR4-3200AA: tRP 1, tCCD_L 2, tRTRS 1",
        "the first of each rule:",
        "  tRTRS: RD rank 1 bank_group 0 bank 0 row 7 column 0 at cycle 28 (command 3) after "
        "RD rank 0 bank_group 0 bank 0 row 7 column 0 at cycle 22 (command 2): 6 clocks, at least 7 required",
        "  tCCD_L: RD rank 1 bank_group 0 bank 0 row 7 column 1 at cycle 32 (command 4) after "
        "RD rank 1 bank_group 0 bank 0 row 7 column 0 at cycle 28 (command 3): 4 clocks, at least 8 required",
        "  tRP: ACT rank 0 bank_group 0 bank 0 row 8 at cycle 90 (command 7) after "
        "PRE rank 0 bank_group 0 bank 0 at cycle 80 (command 6): 10 clocks, at least 22 required",
    ]


def test_a_log_of_ours_names_its_standard(capsys, tmp_path):
    write_log(tmp_path / "log.h5", command_log([act(0), rd(40), pre(59)], "channel", "DDR5-4800B"))
    code, out, _ = run(capsys, "check", tmp_path / "log.h5", "--json")
    record = json.loads(out)
    assert code == 1 and record["standard"] == "DDR5-4800B" and record["commands"] == 3 and not record["legal"]
    assert {rule: count for rule, count in record["counts"].items() if count} == {"tRAS": 1}
    (first,) = record["first"]
    assert (first["rule"], first["gap"], first["required"], first["earlier"], first["later"]) == ("tRAS", 58, 77, 0, 2)
    code, out, _ = run(capsys, "check", tmp_path / "log.h5", "--set", "nRAS=58")
    assert code == 0


def test_wrong_use_is_answered_in_one_sentence(capsys, two_ranks_csv):
    assert "names no standard; use --standard" in refused(capsys, "check", two_ranks_csv)
    assert "standard: expected one of" in refused(capsys, "check", two_ranks_csv, "--standard", "DDR6")
    two_ranks_csv.write_text(HEADER + "\n1,PRESB,0,0,0,,\n")
    answer = refused(capsys, "check", two_ranks_csv, "--standard", "DDR5-4800B")
    assert "line 2: command: expected one of ACT, PRE, " in answer and answer.endswith("found 'PRESB'\n")
