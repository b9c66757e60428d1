#!/usr/bin/env bash
# At least 5,000 generated requests, good and malformed, on every address of a running server; any 5xx fails.
#
#     python -m venv venv && venv/bin/pip install schemathesis
#     trefoil serve --rate 0 --timeout 20 --state /tmp/schemathesis &
#     PATH="$PWD/venv/bin:$PATH" reference/schemathesis.sh http://127.0.0.1:8080
set -euo pipefail
server="${1:-http://127.0.0.1:8080}"
exec schemathesis run "$server/openapi.json" --url "$server" \
    --checks not_a_server_error --mode all --phases examples,coverage,fuzzing \
    --max-examples "${MAX_EXAMPLES:-150}" --generation-deterministic --workers 2 \
    --request-timeout 60 --exclude-path /v1/backup --continue-on-failure
