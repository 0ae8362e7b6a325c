#!/usr/bin/env bats
# demo.bats - the stories of pyprepctl demo: what they promise holds, and nothing of them remains.

load helpers

demos() { pyprepctl demo zzzzzz 2>&1 | sed -n "s/.*there are: //p" | sed "s/all$//"; }

@test "demo: wrong words" {
	says 2 "name one demo: " demo
	says 2 "there is no demo 'zzzzzz'; there are: " demo zzzzzz
}

@test "demo: each story holds what it promises, in JSON; nothing remains" {
	for name in $(demos); do
		json '.schema == "pyprep.demo/1" and .ok and (.checks | length > 0) and
			(.figures | length > 0)' demo "$name" --quick --json
		[ "$ctl_status" -eq 0 ]
		[ -z "$(left_by demo "$ctl_pid")" ]
	done
}

@test "demo: without python3 each story goes on, and says so" {
	for name in $(demos); do
		PYPREP_PYTHON=/nonexistent pyprepctl demo "$name" --quick >"$BATS_TEST_TMPDIR/out"
		grep -q "python3 is not there" "$BATS_TEST_TMPDIR/out"
		never grep "^CPython is" "$BATS_TEST_TMPDIR/out"
	done
}

@test "demo: interrupted, it leaves no process, no file, no name" {
	for name in $(demos); do
		pyprepctl demo "$name" >/dev/null 2>&1 3>&- &
		demo=$!
		has_actors() { pgrep -P "$(pgrep -P "$demo" | head -n 1)"; }
		until_true has_actors
		other=/dev/shm/pyprep.array.demo-${demo}0.bats # of a demo whose pid begins with the same digits
		: >"$other"
		kill -TERM "$demo"
		status=0
		wait "$demo" || status=$?
		[ "$status" -eq 143 ]
		rm "$other"
		[ -z "$(left_by demo "$demo")" ]
	done
}
