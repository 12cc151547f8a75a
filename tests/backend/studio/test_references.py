from backend.studio.references import path_of


def test_the_path_that_a_reference_names() -> None:
    assert path_of("data:image/png;base64,AAAA") == ""
    assert path_of("http://[broken") == ""
    assert path_of("/tasks/4/resolve/?fileuri=%25") == ""
    assert path_of("/data/local-files/?d=x/a.png") == "x/a.png"
    assert path_of("https://example.org/x/a%20b.png?d=1") == "x/a b.png"
