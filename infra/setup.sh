#!/bin/sh
# Finds a Python that the lock files cover and hands over to infra/setup.py. PYTHON=/path/to/python overrides the search.
# Usage: infra/setup.sh engine [dev] [bench]
here=$(cd "$(dirname "$0")" && pwd) || exit 1
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    if "$candidate" -I -c "$fits" >/dev/null 2>&1; then
        exec "$candidate" -I "$here/setup.py" "$@"
    fi
done
found=$(${PYTHON:-python3} --version 2>&1 | head -n 1)
echo "setup: needs Python 3.11 to 3.14, but found '${found:-none}': install one (Debian and Ubuntu: 'sudo apt install python3 python3-venv'; macOS: 'brew install python@3.13') or name it with PYTHON=/path/to/python." >&2
exit 1
