#!/usr/bin/env bats
# explain.bats - every topic runs its experiment and answers with the figures of that run.

load helpers

topics() { pyprepctl explain --json | jq -r .topic; }

@test "explain: alone it lists the topics" {
	says 0 "wake-up-cost" explain
	json '.schema == "pyprep.topic/1" and (.question | endswith("?"))' explain --json
	[ "$(topics | xargs)" = "gil threads-vs-processes when-asyncio share-data manager-cost \
queue-vs-pipe shared-memory lock-owner-dies fork-vs-spawn batching wake-up-cost" ]
	says 2 "there is no topic 'gill'; did you mean 'gil'?" explain gill
	says 2 "name one topic: " explain gil batching
}

@test "explain: each topic measures, holds, and answers with figures" {
	for topic in $(topics); do
		json '.schema == "pyprep.explain/1" and .ok and (.answer | length > 0) and
			(.figures | length > 2) and (.answer | join(" ") | test("[0-9]"))' \
			explain "$topic" --quick --json
		[ "$ctl_status" -eq 0 ]
		[ -z "$(left_by explain "$ctl_pid")" ]
	done
}

@test "explain: the figures differ from run to run: they are measured" {
	pyprepctl explain batching --quick --json >"$BATS_TEST_TMPDIR/a"
	pyprepctl explain batching --quick --json >"$BATS_TEST_TMPDIR/b"
	[ "$(jq .figures.queue_one_rate "$BATS_TEST_TMPDIR/a")" != \
		"$(jq .figures.queue_one_rate "$BATS_TEST_TMPDIR/b")" ]
}

@test "explain: for people, the answer stands below the figures; without python3, too" {
	PYPREP_PYTHON=/nonexistent pyprepctl explain lock-owner-dies >"$BATS_TEST_TMPDIR/out"
	grep -q "python3 is not there" "$BATS_TEST_TMPDIR/out"
	tail -n 1 "$BATS_TEST_TMPDIR/out" | grep -q "EOWNERDEAD"
}
