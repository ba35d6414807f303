#!/usr/bin/env bash
# Installs what the tests need beside the build: an Apache Kafka broker and a Python environment with an S3 server, the
# OpenTelemetry SDK and readers of Parquet. All goes into .tools/, which git ignores; a second run does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

inputs="scripts/test-tools.sh integration-tests/kafka/pom.xml integration-tests/python/requirements.txt"
# shellcheck disable=SC2086  # a list of names
stamp="$(cat $inputs | sha256sum | cut -d ' ' -f 1)"
if [ "$(cat .tools/stamp 2>/dev/null)" = "$stamp" ] && .tools/venv/bin/python -c '' 2>/dev/null && command -v java >/dev/null; then
    exit 0
fi
echo "installing test tools into .tools/" >&2

packages=()
java -version >/dev/null 2>&1 || packages+=(default-jre-headless)
command -v mvn >/dev/null || packages+=(maven)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3 python3-venv)
command -v setpriv >/dev/null || packages+=(util-linux)
if [ "${#packages[@]}" -gt 0 ]; then
    sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -q >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}" >&2
fi

rm -rf .tools/stamp .tools/kafka .tools/venv
mkdir -p .tools
# Twice, since a registry may hiccup.
copy_kafka() {
    mvn -q -B -Dstyle.color=never -f integration-tests/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/.tools/kafka" >&2
}
copy_kafka || copy_kafka
python3 -m venv .tools/venv
.tools/venv/bin/pip install -q --disable-pip-version-check -r integration-tests/python/requirements.txt >&2
echo "$stamp" >.tools/stamp
