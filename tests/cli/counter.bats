#!/usr/bin/env bats
# counter.bats - pyprepctl counter and lock: both ways, names, locks around commands.

load helpers

setup() {
	daemon_start
}

teardown() {
	daemon_stop
}

held_by() { # held_by NAME: the holder's pid, or nothing
	pyprepctl lock ls --json | jq -r "select(.name == \"$1\") | .pid"
}

waiting_for() { # waiting_for NAME COUNT
	[ "$(pyprepctl lock ls --json | jq "select(.name == \"$1\") | .waiters")" = "$2" ]
}

@test "counter: add, get, set, cas, ls, rm; both ways see the same" {
	[ "$(pyprepctl counter add a 5)" = 5 ]
	[ "$(pyprepctl counter add --atomic a -- -2)" = 3 ]
	[ "$(pyprepctl counter get a)" = 3 ]
	[ "$(pyprepctl counter get --atomic a)" = 3 ]
	[ "$(pyprepctl counter set --atomic b 9223372036854775807)" = 9223372036854775807 ]
	[ "$(pyprepctl counter add --manager b 1)" = -9223372036854775808 ]
	[ "$(pyprepctl counter cas a 3 4)" = 4 ]
	says 1 "is 4, not what was expected" counter cas a 3 5
	says 1 "is 4, not what was expected" counter cas --atomic a 3 5
	[ "$(pyprepctl counter ls -q | sort | tr '\n' ' ')" = "a b " ]
	[ "$(pyprepctl counter ls -q --atomic | sort | tr '\n' ' ')" = "a b " ]
	json '.schema == "pyprep.counter/1" and (.name | length) == 1' counter ls --json
	json '.value == 4' counter get --json a
	pyprepctl counter rm a b
	[ -z "$(pyprepctl counter ls)" ]
	says 3 "no counter" counter get a
	says 3 "no counter" counter rm --atomic a
}

@test "counter: what is wrong is said" {
	says 2 "did you mean 'add'" counter ad x 1
	says 2 "counter add NAME NUMBER" counter add x
	says 2 "'1.5' is no number" counter add x 1.5
	says 2 "choose one" counter add --atomic --manager x 1
	says 2 "is no name" counter add "a b" 1
	says 2 "is no name" counter add --atomic "a b" 1
	pyprepctl counter add -q downloads 1
	says 3 "there is no counter 'download'; did you mean 'downloads'?" counter get download
	says 3 "did you mean 'downloads'?" counter rm --atomic dwnloads
	pyprepctl counter rm downloads
	json '.error.code == "no_such_counter" and .error.exit == 3' counter get --json nope
	[ "$ctl_status" -eq 3 ]
}

@test "status: the manager's pid; killed, it is back, and its values are kept" {
	pyprepctl counter set kept 42
	pid=$(pyprepctl status --json | jq .manager.pid)
	kill -KILL "$pid"
	back() { [ "$(pyprepctl status --json | jq ".manager | .state == \"running\" and .pid != $pid")" = true ]; }
	until_true back
	[ "$(pyprepctl counter get kept)" = 42 ]
	[ "$(pyprepctl status --json | jq .manager.restarts)" -eq 1 ]
	pyprepctl status | grep -q "^manager  running (pid [0-9]*), restarts 1"
}

@test "lock run: the command's status; one at a time; a fencing number that grows" {
	says 7 "" lock run l -- sh -c 'exit 7'
	says 137 "" lock run l -- sh -c 'kill -9 $$'
	says 127 "cannot run" lock run l -- /nonexistent/command
	first=$(pyprepctl lock run l -- sh -c 'echo $PYPREP_LOCK_FENCE')
	second=$(pyprepctl lock run l -- sh -c 'echo $PYPREP_LOCK_FENCE')
	[ "$second" -gt "$first" ]
	says 124 "not free" lock run l -- pyprepctl lock run --timeout 0 l -- true
	json '.exit == 3 and .lost == false' lock run --json l -- sh -c 'exit 3'
	echo 0 >"$PRIVATE/sum"
	for _ in $(seq 8); do
		pyprepctl lock run sum -- sh -c 'n=$(cat "$1"); sleep 0.02; echo $((n + 1)) >"$1"' sh "$PRIVATE/sum" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
	[ "$(cat "$PRIVATE/sum")" = 8 ]
	[ -z "$(pyprepctl lock ls)" ]
}

@test "lock run: killed while it holds, the lock is free and the command gets SIGTERM" {
	pyprepctl lock run l -- sh -c 'trap "echo told >\"$0\"; exit" TERM; echo >"$0.ready"; while :; do sleep 0.05; done' \
		"$PRIVATE/told" 3>&- &
	holder=$!
	until_true test -e "$PRIVATE/told.ready"
	[ "$(held_by l)" = "$holder" ]
	kill -KILL "$holder"
	pyprepctl lock run l -- true
	until_true test -s "$PRIVATE/told"
}

@test "lock run: a signal while it waits ends the wait; killed while waiting leaves nobody" {
	pyprepctl lock run l -- sleep 1000 3>&- &
	holder=$!
	held() { [ -n "$(held_by l)" ]; }
	until_true held
	pyprepctl lock run l -- true 3>&- &
	waiter=$!
	until_true waiting_for l 1
	kill -TERM "$waiter"
	status=0
	wait "$waiter" || status=$?
	[ "$status" -eq 143 ]
	until_true waiting_for l 0
	pyprepctl lock run l -- true 3>&- &
	waiter=$!
	until_true waiting_for l 1
	kill -KILL "$waiter"
	until_true waiting_for l 0
	kill -TERM "$holder" # passed on to the command
	status=0
	wait "$holder" || status=$?
	[ "$status" -eq 143 ]
	[ -z "$(pyprepctl lock ls)" ]
}

@test "lock run: a holder that was stopped for longer than its lease is told, and ends its command" {
	pyprepctl lock run --lease 6s l -- sleep 1000 2>"$PRIVATE/said" 3>&- &
	holder=$!
	until_true pgrep -P "$holder" -x sleep # it holds, and the command runs
	kill -STOP "$holder"
	pyprepctl lock run l -- true # waits for the lease's end
	kill -CONT "$holder"
	status=0
	wait "$holder" || status=$?
	[ "$status" -eq 143 ]
	grep -q "no longer alone" "$PRIVATE/said"
}

@test "the manager cannot be had: the error says so, and --atomic goes on" {
	pyprepctl counter set a 1
	# each as soon as it is there: one that has lived for a second is no failure
	(while kill -0 "$DAEMON"; do pkill -KILL -P "$DAEMON" -f '^pyprepd: manager' || true; done) 2>/dev/null 3>&- &
	killer=$!
	failed() { [ "$(pyprepctl status --json | jq -r .manager.state)" = failed ]; }
	until_true failed
	kill "$killer"
	says 75 "the manager does not answer (it is failed)" counter get a
	[ "$(pyprepctl counter get --atomic a)" = 1 ]
	pyprepctl reload -q || pyprepctl reload
	[ "$(pyprepctl counter get a)" = 1 ]
}
