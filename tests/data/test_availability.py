from __future__ import annotations

import http.server
import socket
import threading

import pytest

from data import DatasetError, availability, check_available


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NO_PROXY", "*")


def prepare(folder):
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_newest_version_is_found(data_dir):
    for version in ("1.0.0", "3.9.0", "3.10.0", "3.0.9"):
        prepare(data_dir / "mnist" / version)
    prepare(data_dir / "mnist" / "9.0.0.incompleteABC")
    (data_dir / "mnist" / "8.0.0").mkdir()
    assert availability.prepared("mnist") == data_dir / "mnist" / "3.10.0"
    assert availability.prepared("mnist:1.0.0") == data_dir / "mnist" / "1.0.0"
    assert availability.prepared("mnist:2.0.0") is None
    assert availability.prepared("kmnist") is None
    check_available("digits")


def test_configurations(data_dir):
    letters = prepare(data_dir / "emnist" / "letters" / "3.1.0")
    assert availability.prepared("emnist/letters") == letters
    assert availability.prepared("emnist") == letters
    assert availability.prepared("emnist/mnist") is None
    prepare(data_dir / "emnist" / "digits" / "3.1.0")
    with pytest.raises(
        DatasetError, match="digits, letters; name one, as emnist/digits"
    ):
        availability.prepared("emnist")


def test_default_data_dir(monkeypatch, tmp_path):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert availability.data_dir() == tmp_path / "tensorflow_datasets"


def test_unreachable_source(data_dir, monkeypatch):
    asked = []
    monkeypatch.setattr(
        availability, "probe", lambda url: asked.append(url) or "no route"
    )
    with pytest.raises(DatasetError, match=r"cannot be reached \(no route\)") as caught:
        check_available("cifar100")
    assert "\n" not in str(caught.value)
    assert asked == ["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"]
    monkeypatch.setattr(availability, "probe", lambda url: None)
    check_available("cifar100")


def test_files_that_have_to_be_fetched_by_hand(data_dir, monkeypatch):
    monkeypatch.setattr(availability, "probe", lambda url: pytest.fail("was probed"))
    with pytest.raises(DatasetError, match="fetched by hand: put them in .*manual"):
        check_available("imagenet")
    manual = data_dir / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "ILSVRC2012_img_train.tar").write_bytes(b"")
    check_available("imagenet")


def test_own_set_that_is_not_complete(data_dir):
    (data_dir / "my_very_own").mkdir()
    with pytest.raises(DatasetError, match="has no code to prepare it; set TFDS_DATA"):
        check_available("my_very_own")


def test_names_without_tfds_need_no_probe(tmp_path):
    check_available("uci_digits")
    check_available(str(tmp_path))


def test_any_answer_counts():
    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), NotFound) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert availability.probe(f"http://127.0.0.1:{server.server_port}/x") is None
        server.shutdown()
        thread.join()


def test_refused_connection():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert "refused" in availability.probe(url)


def test_silent_host(monkeypatch):
    monkeypatch.setattr(availability, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert "timed out" in availability.probe(url)


def test_name_lookup_that_hangs(monkeypatch):
    monkeypatch.setattr(availability, "PROBE_LIMIT_SECONDS", 0.2)
    release = threading.Event()
    monkeypatch.setattr(availability, "_ask", lambda url: release.wait() and "")
    # Would hang for ever if it waited for the answer.
    assert availability.probe("http://slow") == "no answer within 0.2 seconds"
    release.set()


def test_the_probe_ends_in_time():
    assert availability.PROBE_LIMIT_SECONDS <= 8
    assert availability.PROBE_SECONDS <= 3
