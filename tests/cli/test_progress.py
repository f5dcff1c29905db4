from ndpsim.cli.show import progress


def shown(capsys, **options):
    with progress("requests", 10, **options) as update:
        update(completed=3)
    return capsys.readouterr().err


def test_a_bar_is_shown_on_a_terminal_alone(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert shown(capsys) == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "requests" in shown(capsys)


def test_work_that_is_done_before_the_delay_shows_no_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert shown(capsys, delay_s=60.0) == ""
    assert "3/10" in shown(capsys, delay_s=1e-9)
