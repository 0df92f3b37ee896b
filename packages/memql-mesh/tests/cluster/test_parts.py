"""The small parts of a cluster: private files, processes, secrets, certificates, environments, waits."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from memql.config import Layer, load_settings
from memql.config.tls import grpc_key_pair
from memql.errors import Code, MemqlError
from memql.mesh.cluster import authority
from memql.mesh.cluster.authority import prepare_certificates
from memql.mesh.cluster.environment import Environments, merged
from memql.mesh.cluster.files import make_private_directory, read_private, write_private
from memql.mesh.cluster.keeper import Ending, Waits
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.plan import Plan, make_plan
from memql.mesh.cluster.ports import SeedPorts
from memql.mesh.cluster.processes import ProcessId, identify
from memql.mesh.cluster.secrets import obtain_secrets
from memql.mesh.cluster.state import initial_state, read_state, sole_supervisor, write_state
from memql.node.roles import installed_roles, load_role

SERVICE = {name: load_role(point).port for name, point in installed_roles().items()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    make_private_directory(made.directory)
    return made


def planned(*, tls: bool = False, **replicas: int) -> Plan:
    return make_plan({"identity": 1, **replicas}, SeedPorts(SERVICE), tls=tls)


# --- files -----------------------------------------------------------------------------------------------------------


def test_private_files_are_written_whole_and_for_their_owner(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert read_private(file) is None
    write_private(file, b"one")
    file.chmod(0o400)
    write_private(file, b"two")
    assert read_private(file) == b"two"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o601])
def test_a_private_file_that_others_have_a_right_to_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    write_private(file, b"x")
    file.chmod(mode)
    with pytest.raises(MemqlError, match="open to group or others") as raised:
        read_private(file)
    assert raised.value.code is Code.CONFIG_INVALID


def test_a_directory_that_others_may_enter_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir(mode=0o755)
    make_private_directory(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MemqlError, match="cannot be used") as raised:
        make_private_directory(tmp_path / "file" / "d")
    assert raised.value.code is Code.CONFIG_INVALID


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_process_is_known_by_its_id_and_its_start() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        known = identify(child.pid)
        assert known is not None
        assert identify(child.pid) == known
        assert not ProcessId(child.pid, "another start").alive
        assert not ProcessId(child.pid, "another start").signal(signal.SIGKILL)
        assert child.poll() is None
        assert known.signal(signal.SIGKILL)
        # It is a zombie until its parent has asked for it, and runs no more.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not known.alive
        assert identify(child.pid) is None
    assert not known.signal(signal.SIGKILL)


def test_two_processes_are_told_apart() -> None:
    me, parent = identify(os.getpid()), identify(os.getppid())
    assert me is not None
    assert me == identify(os.getpid())
    assert me != parent


# --- state -----------------------------------------------------------------------------------------------------------


def test_the_state_is_read_as_it_was_written(place: Place) -> None:
    me = identify(os.getpid())
    assert me is not None
    assert read_state(place) is None
    state = initial_state(planned(bff=2, tls=True), me, 12.5, embedded=False)
    state.nodes[0].process = me
    write_state(place, state)
    assert read_state(place) == state
    assert [node.id for node in state.running_nodes()] == ["identity-1"]
    assert state.supervised
    with pytest.raises(MemqlError, match="there are identity-1, bff-1, bff-2") as raised:
        state.find("x-1")
    assert raised.value.code is Code.NOT_FOUND


def test_there_is_one_supervisor_at_a_time(place: Place) -> None:
    with (
        sole_supervisor(place),
        pytest.raises(MemqlError, match="a cluster runs in this home already") as raised,
        sole_supervisor(place),
    ):
        pass
    assert raised.value.code is Code.FAILED_PRECONDITION
    with sole_supervisor(place):
        pass


@pytest.mark.parametrize("content", [b"", b"[]", b'{"supervisor": 1}'])
def test_a_state_that_is_none_is_told(place: Place, content: bytes) -> None:
    write_private(place.state, content)
    with pytest.raises(MemqlError, match=r"state\.json cannot be read"):
        read_state(place)


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_secrets_are_made_once_and_added_to(place: Place) -> None:
    first = obtain_secrets(place, ["identity", "bff"])
    again = obtain_secrets(place, ["bff", "agent"])
    assert set(again.bootstrap) == {"identity", "bff", "agent"}
    assert again.bootstrap["bff"] == first.bootstrap["bff"]
    assert (again.master_key, again.signing_seed) == (first.master_key, first.signing_seed)
    assert obtain_secrets(place, ["agent"]) == again
    assert len({*again.bootstrap.values(), again.master_key, again.signing_seed}) == 5


def test_secrets_that_cannot_be_read_are_not_made_anew(place: Place) -> None:
    write_private(place.secrets, b"{}")
    with pytest.raises(MemqlError, match="put the file back") as raised:
        obtain_secrets(place, ["bff"])
    assert raised.value.code is Code.CONFIG_INVALID
    assert place.secrets.read_bytes() == b"{}"


# --- certificates ----------------------------------------------------------------------------------------------------


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_nodes_get_certificates_for_this_machine_that_the_authority_has_signed(place: Place) -> None:
    prepare_certificates(place, ["bff-1", "agent-1"])
    made = certificate(place.certificate("bff-1"))
    made.verify_directly_issued_by(certificate(place.ca_file))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    pair = {"grpc_tls_cert_file": place.certificate("bff-1"), "grpc_tls_key_file": place.key("bff-1")}
    assert grpc_key_pair(load_settings({}).model_copy(update=pair)) is not None


def test_certificates_are_made_again_before_they_end_and_when_the_authority_has_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "_NODE_LIFE", timedelta(days=20))
    prepare_certificates(place, ["bff-1"])
    short = certificate(place.certificate("bff-1"))
    monkeypatch.undo()
    prepare_certificates(place, ["bff-1"])
    long = certificate(place.certificate("bff-1"))
    assert long.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    assert long != short
    (place.tls / "ca.key").unlink()
    prepare_certificates(place, ["bff-1"])
    other = certificate(place.certificate("bff-1"))
    assert other != long
    other.verify_directly_issued_by(certificate(place.ca_file))
    prepare_certificates(place, ["bff-1"])
    assert certificate(place.certificate("bff-1")) == other


def test_what_is_no_certificate_is_told(place: Place) -> None:
    prepare_certificates(place, ["bff-1"])
    place.certificate("bff-1").write_text("nothing")
    with pytest.raises(MemqlError, match="hold no certificate and key"):
        prepare_certificates(place, ["bff-1"])


# --- environments ----------------------------------------------------------------------------------------------------


def environments(place: Place, plan: Plan, **given: str) -> dict[str, dict[str, str]]:
    """The environment of every node."""
    secrets = obtain_secrets(place, {node.role for node in plan.nodes})
    made = Environments(plan=plan, place=place, given=given, secrets=secrets, dsn="postgresql://x/y")
    return {node.id: made.of(node) for node in plan.nodes}


def test_what_stands_around_is_passed_on_unless_the_supervisor_decides_it(place: Place) -> None:
    given = {
        "PATH": "/bin",
        "OPENAI_API_KEY": "k",
        "MEMQL_LOG_LEVEL": "debug",
        "MEMQL_SHUTDOWN_BUDGET": "3s",
        "MEMQL_NODE_ID": "mine",
        "MEMQL_GRPC_ADDRESS": ":1",
        "MEMORY_NODES_DATABASE_DSN": "postgresql://other",
        "MEMQL_IDENTITY_VERIFIER_BASE_URL": "https://elsewhere",
        "IDENTITY_NODE_BOOTSTRAP_TOKENS": "{}",
        "IDENTITY_SIGNING_KEY_B64": "A" * 43 + "=",
        "MEMQL_TOKEN": "t",
        "MEMQL_GENESIS_AUTOLOAD": "true",
    }
    found = environments(place, planned(bff=1), **given)
    bff = found["bff-1"]
    kept = {"PATH": "/bin", "OPENAI_API_KEY": "k", "MEMQL_LOG_LEVEL": "debug", "MEMQL_SHUTDOWN_BUDGET": "3s"}
    assert kept.items() <= bff.items()
    assert (bff["MEMQL_NODE_ID"], bff["MEMQL_DATABASE_DSN"]) == ("bff-1", "postgresql://x/y")
    for name in ("MEMORY_NODES_DATABASE_DSN", "MEMQL_IDENTITY_VERIFIER_BASE_URL", "MEMQL_TOKEN"):
        assert name not in bff
    assert not any(name.startswith(("IDENTITY_SIGNING", "IDENTITY_NODE")) or "GENESIS" in name for name in bff)
    assert found["identity-1"]["IDENTITY_SIGNING_KEY_B64"] == given["IDENTITY_SIGNING_KEY_B64"]


def test_every_environment_is_one_that_a_node_takes(place: Place) -> None:
    plan = planned(bff=2, agent=1, tls=True)
    for node in plan.nodes:
        settings = load_settings(environments(place, plan)[node.id])
        assert (settings.node_id, settings.node_type) == (node.id, node.role)
        assert settings.explicit_development
        assert all(address.is_loopback for address in settings.listeners)
        assert settings.migrates_on_start is (node.id == "identity-1")
        assert settings.node_service_mtls
        assert not settings.grpc_mtls


def test_nodes_ask_the_identity_node_of_their_number_and_trust_one_issuer(place: Place) -> None:
    plan = make_plan({"identity": 2, "bff": 3}, SeedPorts(SERVICE))
    found = environments(place, plan)
    asked = [found[f"bff-{number}"]["IDENTITY_VERIFIER_BASE_URL"] for number in (1, 2, 3)]
    assert asked == ["http://127.0.0.1:8095", "http://127.0.0.1:8195", "http://127.0.0.1:8095"]
    issuers = {found[f"bff-{number}"]["IDENTITY_VERIFIER_EXPECTED_ISSUER"] for number in (1, 2, 3)}
    assert issuers == {found[f"identity-{number}"]["IDENTITY_BASE_URL"] for number in (1, 2)} == {asked[0]}
    secrets = msgspec.json.decode(found["identity-1"]["IDENTITY_NODE_BOOTSTRAP_TOKENS"])
    assert secrets == {"bff": found["bff-1"]["MEMQL_NODE_BOOTSTRAP_TOKEN"]}


def test_without_tls_credentials_are_issued_without_it_and_with_tls_they_are_not(place: Place) -> None:
    for tls in (False, True):
        identity = environments(place, planned(tls=tls))["identity-1"]
        assert identity["MEMQL_IDENTITY_ALLOW_INSECURE_BOOTSTRAP"] == str(not tls).lower()
        assert ("MEMQL_GRPC_TLS_KEY_FILE" in identity) is tls


def test_of_several_layers_the_first_wins() -> None:
    layers = [Layer("a", {"x": "1"}), Layer("b", {"x": "2", "y": "2"})]
    assert merged(layers) == {"x": "1", "y": "2"}


# --- waits -----------------------------------------------------------------------------------------------------------


def test_waits_double_and_start_over_after_a_process_that_was_ready_for_a_while() -> None:
    waits, crash = Waits(), Ending(-9, None)
    assert [waits.after(crash) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert waits.after(Ending(-9, 5.0)) == 30
    assert waits.after(Ending(-9, 20.0)) == 1
    assert waits.after(crash) == 2


def test_a_process_that_ended_in_good_order_is_followed_at_once() -> None:
    waits = Waits()
    assert waits.after(Ending(0, 3.0)) == 0
    # One that ends before it was ready has not done what it was started for.
    assert waits.after(Ending(0, None)) == 1


@pytest.mark.parametrize(
    ("code", "text"), [(0, "ended"), (1, "failed with exit code 1"), (-9, "was killed by SIGKILL"), (-200, "")]
)
def test_endings_are_told_in_words(code: int, text: str) -> None:
    assert text in str(Ending(code, None))
    assert str(Ending(code, None))
