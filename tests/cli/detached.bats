# detached.bats - jobs that live in the store, by hand: submit --detach, logs, wait, show, retry, rm.
bats_require_minimum_version 1.5.0
load helpers

setup() { daemon_start; }
teardown() { daemon_stop; }

# Stop the daemon in good order, and start another in the same places.
daemon_restart() {
	pyprepctl stop >/dev/null
	wait "$DAEMON" || true
	"$PYPREP_BIN/pyprepd" >>"$PRIVATE/log" 2>&1 3>&- &
	DAEMON=$!
	pyprepctl ping -q --wait 60
}

@test "submit --detach -q prints bare ids, and wait ends with the job's own status" {
	run -0 pyprepctl submit --detach -q -n 3 noop
	[ "${#lines[@]}" = 3 ]
	for id in "${lines[@]}"; do run -0 pyprepctl wait -q "$id"; done
	id=$(pyprepctl submit -d -q exec -- sh -c 'exit 7')
	run -7 pyprepctl wait -q "$id"
}

@test "logs -f goes on until the end, and tells stdout from stderr" {
	id=$(pyprepctl submit -d -q exec -- sh -c 'echo one; echo two >&2; sleep 0.7; echo three')
	run -0 --separate-stderr pyprepctl logs -f "$id"
	[ "$output" = $'one\nthree' ]
	[ "$stderr" = two ]
	run -0 pyprepctl logs "$id" --stream stderr
	[ "$output" = two ]
	[ "$(pyprepctl logs "$id" --json | jq -r 'select(.stream == "stdout") | .bytes' | tr -d '\n')" = onethree ]
}

@test "what has ended is there after a restart: show, ls, logs, wait" {
	id=$(pyprepctl submit -d -q exec --label night=1 -- sh -c 'echo kept; exit 3')
	run -3 pyprepctl wait -q "$id"
	pyprepctl submit -q sumsq n=10 >/dev/null
	daemon_restart
	run -3 pyprepctl wait -q "$id"
	[ "$(pyprepctl logs "$id")" = kept ]
	[ "$(pyprepctl show "$id" --json | jq -r '.state, .exit_status, .labels[0]' | tr '\n' ' ')" = "failed 3 night=1 " ]
	[ "$(pyprepctl ls --state failed --filter night=1 -q)" = "$id" ]
	[ -z "$(pyprepctl ls --state finished --filter night=2 -q)" ]
	[ "$(pyprepctl ls --state succeeded --kind sumsq -q | wc -l)" = 1 ]
}

@test "show of a failed command has the last of its output, and the command to do it again" {
	id=$(pyprepctl submit -d -q exec -- sh -c 'for i in 1 2 3 4 5 6 7; do echo "line $i"; done; echo "it'"'"'s broken" >&2; exit 9')
	run -9 pyprepctl wait -q "$id"
	run -0 pyprepctl show "$id"
	[[ $output == *"the last of its stdout:"*"    line 3"*"    line 7"*"the last of its stderr:"*"    it's broken"* ]]
	[[ $output != *"    line 2"* ]]
	again=$(pyprepctl show "$id" --json | jq -r .again)
	run -9 bash -c "$again"
	[[ $output == *"it's broken"* ]]
}

@test "retry counts attempts on, rm forgets" {
	id=$(pyprepctl submit -d -q exec -- sh -c 'echo attempt $PYPREP_ATTEMPT; exit 1')
	run -1 pyprepctl wait -q "$id"
	says 0 "queued 1 job" retry "$id"
	until_status "$id" 2
	[ "$(pyprepctl logs "$id")" = "attempt 2" ]
	[ "$(pyprepctl logs "$id" --attempt 1)" = "attempt 1" ]
	[ "$(pyprepctl show "$id" --json | jq '.attempts | length')" = 2 ]
	says 0 "removed 1 job" rm "$id"
	says 3 "no job $id" show "$id"
	says 3 "no detached job $id" logs "$id"
	says 3 "no such job: $id" rm "$id"
	says 3 "no such job: $id" retry "$id"
}

# until_status ID ATTEMPT: wait until the job has ended with this attempt.
until_status() {
	for _ in $(seq 400); do
		[ "$(pyprepctl show "$1" --json | jq -r '"\(.state) \(.attempt)"')" = "failed $2" ] && return
		sleep 0.05
	done
	return 1
}

@test "--keep: the store has until when, and removes it then" {
	id=$(pyprepctl submit -d -q --keep 1s noop)
	long=$(pyprepctl submit -d -q --keep 720h noop)
	plain=$(pyprepctl submit -d -q noop)
	run -0 pyprepctl wait -q "$id" "$long" "$plain"
	[ "$(sqlite3 -readonly "$PYPREP_STATE_DIR/store.db" \
		'SELECT group_concat(CASE WHEN not_before = 0 THEN 0 ELSE (not_before - ended) / 1000000000 END) FROM job')" = "1,2592000,0" ]
	says 2 "add --detach" submit --keep 1h noop
	for _ in $(seq 100); do
		pyprepctl submit -d -q noop >/dev/null # a store with work looks every ten seconds
		pyprepctl show "$id" >/dev/null 2>&1 || break
		sleep 0.2
	done
	says 3 "no job $id" show "$id"
	run -0 pyprepctl show "$long"
	run -0 pyprepctl show "$plain"
}

@test "ls --state all: each job once, also while it ends" {
	pyprepctl submit -d -q --count 3000 sleep ms=1 >/dev/null
	for _ in $(seq 400); do
		twice=$(pyprepctl ls --state all -q -l 10000 | sort | uniq -d)
		[ -z "$twice" ]
		[ "$(pyprepctl status --json | jq .store.open)" != 0 ] || break
	done
	[ "$(pyprepctl ls --state succeeded -q -l 10000 | sort -u | wc -l)" = 3000 ]
}

@test "retry --dead: all in quarantine, and no other" {
	says 0 "queued 0 jobs" retry --dead
	dead=$(pyprepctl submit -d -q --count 3 --crash-limit 1 fail how=signal)
	failed=$(pyprepctl submit -d -q fail)
	run pyprepctl wait -q $dead $failed
	[ "$(pyprepctl ls --state dead -q | sort -n)" = "$(sort -n <<<"$dead")" ]
	says 2 "not both" retry --dead "$failed"
	[ "$(pyprepctl retry --dead --json)" = '{"schema":"pyprep.retry/1","queued":3}' ]
	run pyprepctl wait -q $dead
	for id in $dead; do
		[ "$(pyprepctl show "$id" --json | jq '.attempts | length')" -ge 2 ]
	done
	[ "$(pyprepctl show "$failed" --json | jq '.attempts | length')" = 1 ]
}

@test "rm and retry leave open jobs alone, and say so" {
	id=$(pyprepctl submit -d -q sleep ms=60000)
	says 1 "these have not ended; 'pyprepctl cancel ID' ends them: $id" rm "$id"
	says 1 "these have not ended" retry "$id"
	says 0 "cancelled 1 job" cancel "$id"
	run pyprepctl wait -q "$id"
	says 0 "removed 1 job" rm "$id"
}

@test "release, cancel, hold and why of jobs that a new broker has yet to read" {
	last=$(pyprepctl submit -d -q --hold --count 20000 noop | tail -1)
	kill -9 "$(pyprepctl status --json | jq .broker.pid)"
	says 0 "released 1 job" release "$last"
	run -0 pyprepctl wait -q "$last"
	kill -9 "$(pyprepctl status --json | jq .broker.pid)"
	[[ $(pyprepctl why "$((last - 1))") == *"pyprepctl release $((last - 1))"* ]]
	kill -9 "$(pyprepctl status --json | jq .broker.pid)"
	says 0 "cancelled 19999 jobs" cancel --all
}

@test "status tells of the store, drain of its pools" {
	pyprepctl submit -d -q noop >/dev/null
	[ "$(pyprepctl status --json | jq -r .store.engine,.store.state | tr '\n' ' ')" = "sqlite ok " ]
	[[ $(pyprepctl status) == *"store    sqlite, ok"* ]]
	says 0 "drained: nothing runs" drain cpu --wait
	says 75 'pool "cpu" is being drained' submit noop
	says 0 "pool cpu: running" pool resume cpu
	says 0 "" submit -q noop
}
