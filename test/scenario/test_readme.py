"""What the documents tell a person to do works when it is done word for word."""
import glob
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile

import pytest
from harness import BINARY, ROOT, free_port, processes_of, wait_for

DOCUMENTS = [name for pattern in ("*.md", "docs/**/*.md", "bench/*.md")
             for name in sorted(glob.glob(pattern, root_dir=ROOT, recursive=True))]
PORT_OF_EXAMPLES = 8080
OF_THE_PLATFORM_ITSELF = {"job"}  # what the platform starts and no person types


def blocks(document, language):
    with open(os.path.join(ROOT, document)) as text:
        return re.findall(rf"^```{language}\n(.*?)^```$", text.read(), re.M | re.S)


def block_with(document, words):
    return next(block for block in blocks(document, "sh") if words in block)


class Person:
    """Somebody with a terminal, `slipway` in the PATH and a home of their own."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="slipway-readme-", dir="/tmp")
        os.chmod(self.home, 0o755)
        self.port = free_port()
        self.state = os.path.join(self.home, "state")
        self.environment = {**os.environ, "HOME": self.home, "NO_COLOR": "1", "SLIPWAY_STATE": self.state,
                            "ASAN_OPTIONS": "detect_leaks=0",
                            "PATH": f"{os.path.dirname(BINARY)}:{os.environ['PATH']}"}
        self.running = []

    def types(self, text, folder="."):
        """A shell that does what the document says, its output in a file; the ports alone are others."""
        output = tempfile.TemporaryFile("w+b")
        http = f"--http 127.0.0.1:{PORT_OF_EXAMPLES}"
        text = text.replace(http, f"{http} --https 127.0.0.1:0").replace(f":{PORT_OF_EXAMPLES}", f":{self.port}")
        shell = subprocess.Popen(["bash", "-euc", text],
                                 cwd=os.path.join(self.home, folder), env=self.environment, stdin=subprocess.DEVNULL,
                                 stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        shell.output = output
        self.running.append(shell)
        return shell

    @staticmethod
    def sees(shell):
        shell.output.seek(0)
        return shell.output.read().decode(errors="replace")

    def does(self, text, folder="."):
        shell = self.types(text, folder)
        try:
            shell.wait(120)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"`{text}` did not end\n{self.sees(shell)}") from None
        assert shell.returncode == 0, f"`{text}`: exit {shell.returncode}\n{self.sees(shell)}"
        return self.sees(shell)

    def presses_control_c(self, shell):
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait(60)
        return self.sees(shell)

    def leaves(self):
        for shell in self.running:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGINT)
                try:
                    shell.wait(60)
                except subprocess.TimeoutExpired:
                    os.killpg(shell.pid, signal.SIGKILL)
            shell.output.close()
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture
def person():
    person = Person()
    try:
        yield person
    finally:
        person.leaves()


def live_release(person):
    return json.loads(person.does("slipway status --json"))["apps"][0]["release"]


def test_the_first_app_of_the_readme(person):
    up = person.types(block_with("README.md", "slipway up"))

    def is_live():
        assert up.poll() is None, f"`slipway up` ended\n{person.sees(up)}"
        return "v1 is live" in person.sees(up)

    wait_for(is_live, 60, "the app is live")
    commands = [line.split("#")[0].strip() for line in block_with("README.md", "slipway rollback").splitlines()]
    done = []
    for command in commands:
        verb = " ".join(command.split()[:2])
        if command == "slipway logs -f":
            logs = person.types(command, "hello")
            wait_for(lambda: "GET /" in person.sees(logs), 20, "the output of the app is shown")
            person.presses_control_c(logs)
        else:
            output = person.does(command, "hello")
            if verb.startswith("curl"):
                assert "hello from web-" in output, output
            elif verb == "slipway status":
                assert "2/2" in output, output
            elif verb == "slipway deploy":
                assert live_release(person) == 2, output
            elif verb == "slipway rollback":
                assert live_release(person) == 1, output
            elif verb == "slipway scale":
                assert "4/4" in person.does("slipway status", "hello")
        done.append(verb)
    assert len(done) == 6, f"the README has other commands than this test knows: {done}"
    assert "GET /" in person.sees(up), "up shows the output of the app"
    person.presses_control_c(up)
    assert not processes_of(person.state), "something still runs"


def test_init_gives_a_valid_manifest(person):
    for name, text in {"package.json": '{"name": "shop", "scripts": {"start": "node server.js"}}', "Procfile": "web: ./run\n",
                       "index.html": "<p>hello</p>\n", "requirements.txt": "flask\n", "go.mod": "module shop\n"}.items():
        folder = os.path.join(person.home, "with-" + name.replace(".", "-").lower())
        os.mkdir(folder)
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
        open(os.path.join(folder, "app.py"), "w").close()
        person.does("slipway init && slipway validate", folder)
        assert "HINT: " in person.does("! slipway init", folder), "a second init explains why it does nothing"


def examples_of_manifests():
    return [pytest.param(block, id=f"{document}:{number}") for document in DOCUMENTS
            for number, block in enumerate(blocks(document, "yaml"), 1)]


@pytest.mark.parametrize("manifest", examples_of_manifests())
def test_every_manifest_in_the_documents_is_valid(person, manifest):
    with open(os.path.join(person.home, "slipway.yaml"), "w") as file:
        file.write(manifest)
    person.does("slipway validate")


def commands_in_the_documents():
    """(document, words) of every `slipway VERB ...` in a shell block or in backquotes."""
    for document in DOCUMENTS:
        with open(os.path.join(ROOT, document)) as text:
            whole = text.read()
        lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
        for line in lines + re.findall(r"`(slipway [^`\n]*)`", whole):
            for command in re.findall(r"(?:^|&& |; )slipway (.*)", line.split(" #")[0]):
                words = re.split(r" (?:&&|\||>) ", command)[0]
                yield document, words


def test_every_command_in_the_documents_exists(person):
    found = {}
    for document, words in commands_in_the_documents():
        found.setdefault(words, document)
    assert len(found) > 5, found
    for words, document in found.items():
        verb, *rest = shlex.split(words)
        if not re.fullmatch("[a-z]+", verb) or verb in OF_THE_PLATFORM_ITSELF:
            continue
        usage = person.does(f"slipway help {verb}")
        assert usage.startswith(f"usage: slipway {verb}"), f"{document}: slipway {words}"
        for option in rest:
            if re.fullmatch("--?[a-z].*", option):
                assert option.split("=")[0] in usage, f"{document}: slipway {words}: there is no {option}"


def test_the_pages_and_completions_are_well_formed(person):
    person.does("slipway completion bash > slipway.bash && bash -n slipway.bash")
    person.does("slipway completion zsh > _slipway && zsh -n _slipway")
    for page in ("slipway", "slipway.yaml"):
        person.does(f"slipway manual {page} > page.man")
        warnings = person.does("LC_ALL=C.UTF-8 MANROFFSEQ= MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z page.man "
                               "2>&1 >/dev/null")
        assert not warnings, warnings
