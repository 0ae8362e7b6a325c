#!/usr/bin/env bats
# report.bats - pyprepctl report: the figures are those of the jobs' own receipts, and stay.

load helpers

setup() {
	daemon_start
}

teardown() {
	daemon_stop
}

# The nearest rank of numbers on stdin: rank PER_MILLE
rank() {
	sort -n | awk -v p="$1" '{ v[NR] = $1 } END { r = int((NR * p + 999) / 1000); print v[r < 1 ? 1 : r] }'
}

# near A B: within the histogram's error
near() {
	awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d <= b * 0.00390625) }'
}

row() { # row FILTER ARGS...: of the only row of a report
	pyprepctl report --json "${@:2}" | jq -r ".rows | if length == 1 then .[0] else error(\"\(length) rows\") end | $1"
}

again() { # the daemon once more, in the same directories
	"$PYPREP_BIN/pyprepd" >>"$PRIVATE/log" 2>&1 3>&- &
	DAEMON=$!
	pyprepctl ping -q --wait 60
}

@test "report: percentiles of each stage are those of the receipts" {
	pyprepctl submit --json sumsq n=50000 --count 300 >"$BATS_TEST_TMPDIR/receipts"
	[ "$(row .n --kind sumsq)" = 300 ]
	checked=0
	for stage in queue dispatch run; do
		for p in 500:p50 900:p90 990:p99; do
			exact=$(jq ".stages.${stage}_ns" "$BATS_TEST_TMPDIR/receipts" | rank "${p%:*}")
			told=$(row ".stages.${stage}_ns.${p#*:}" --kind sumsq)
			echo "$stage ${p#*:}: told $told, exact $exact"
			near "$told" "$exact"
			checked=$((checked + 1))
		done
		[ "$(row ".stages.${stage}_ns.most" --kind sumsq)" = \
			"$(jq ".stages.${stage}_ns" "$BATS_TEST_TMPDIR/receipts" | sort -n | tail -1)" ]
	done
	[ "$checked" = 9 ]
	# the control arm: the median of halves, averaged, is not within the error of the whole's p90
	exact=$(jq .stages.run_ns "$BATS_TEST_TMPDIR/receipts" | rank 500)
	never near $((exact * 102 / 100)) "$exact"
	[ "$(row .run_ns --kind sumsq)" = "$(jq .stages.run_ns "$BATS_TEST_TMPDIR/receipts" | awk '{ s += $1 } END { printf "%d", s }')" ]
}

@test "report: every end is counted with its cause" {
	pyprepctl submit -q exec --count 3 -- sh -c 'exit 3' >/dev/null || true
	pyprepctl submit -q exec --count 2 -- sh -c 'kill -9 $$' >/dev/null || true
	pyprepctl submit -q exec --count 4 -- true >/dev/null
	pyprepctl submit -q exec --timeout 50ms -- sleep 60 >/dev/null || true
	pyprepctl report --json --kind exec | jq -e '.rows[0] |
		.n == 10 and .outcomes == {succeeded: 4, failed: 5, cancelled: 0, timed_out: 1, refused: 0, dead: 0} and
		([.causes[] | select(.state == "failed") | {(.cause): .n}] | add) == {exit: 3, signal: 2}'
	text=$(pyprepctl report --kind exec --stages)
	echo "$text"
	grep -q '^exec: 10 jobs: 4 succeeded, 5 failed (3 exit, 2 signal), 1 timed_out (1 timeout)$' <<<"$text"
	# what never ran is counted, and has no times
	pyprepctl pool pause cpu >/dev/null
	pyprepctl submit -q sumsq n=1 &
	until_status '.jobs.queued == 1'
	pyprepctl cancel --all >/dev/null
	wait $! || true
	[ "$(row '"\(.n) \(.started) \(.outcomes.cancelled) \(.stages | length)"' --kind sumsq)" = "1 0 1 0" ]
}

@test "report: rows by kind, pool and day add up to all" {
	pyprepctl submit -q sumsq n=1000 --count 20 >/dev/null
	pyprepctl submit -q sumsq n=1000 --pool threads --count 30 >/dev/null
	pyprepctl submit -q sleep ms=1 --count 40 >/dev/null
	for by in kind pool day kind,pool pool,day kind,pool,day; do
		pyprepctl report --json --by "$by" | jq -e --arg by "$by" '
			.schema == "pyprep.report/1" and .all.n == 90 and ([.rows[].n] | add) == 90 and
			(.by | sort) == ($by | split(",") | sort) and
			all(.rows[]; [has("kind"), has("pool"), has("day")] ==
				[($by | contains("kind")), ($by | contains("pool")), ($by | contains("day"))])'
	done
	[ "$(pyprepctl report --json --by kind,pool | jq -c '[.rows[] | [.kind, .pool, .n]]')" = \
		'[["sleep","io",40],["sumsq","cpu",20],["sumsq","threads",30]]' ]
	[ "$(row .n --kind sumsq --by kind)" = 50 ]
	[ "$(row .n --pool threads --by pool)" = 30 ]
	[ "$(row .day --by day)" = "$(date -u +%F)" ]
}

@test "report: a percentile of too few values is left open" {
	pyprepctl submit -q noop --count 99 >/dev/null
	[ "$(row '"\(.stages.run_ns.p90 != null) \(.stages.run_ns.p99) \(.stages.run_ns.p999)"')" = "true null null" ]
	pyprepctl submit -q noop --count 1 >/dev/null
	[ "$(row '"\(.stages.run_ns.p99 != null) \(.stages.run_ns.p999)"')" = "true null" ]
	pyprepctl submit -q noop --count 900 >/dev/null
	[ "$(row '"\(.n) \(.stages.run_ns.p999 != null)"')" = "1000 true" ]
	pyprepctl report --kind noop | grep -q '^noop  *1000  *1000 '
	never grep -q 'too few' <<<"$(pyprepctl report --kind noop)"
	grep -q 'too few' <<<"$(pyprepctl report --kind noop --stages)" # of those measured in full
}

@test "report --profile: the costliest first, by total, per call or calls" {
	pyprepctl submit -q sleep ms=20 --count 3 >/dev/null
	pyprepctl submit -q sleep ms=1 --pool cpu --count 100 >/dev/null
	pyprepctl submit -q noop --count 500 >/dev/null
	[ "$(pyprepctl report --profile --sort percall --by kind,pool --json | jq -c '[.rows[] | .kind + "/" + .pool]')" = \
		'["sleep/io","sleep/cpu","noop/cpu"]' ]
	[ "$(pyprepctl report --profile --sort calls --by kind,pool --json | jq -c '[.rows[] | .kind + "/" + .pool]')" = \
		'["noop/cpu","sleep/cpu","sleep/io"]' ]
	pyprepctl report --profile --json | jq -e '
		([.rows[].run_ns] | . == (sort | reverse)) and (.rows[-1].cumulative_share | . > 0.999999 and . < 1.000001) and
		all(.rows[]; .percall_ns == (.run_ns / .calls | floor))'
	text=$(pyprepctl report --profile)
	echo "$text"
	grep -qE '^sleep +103 +[0-9]+ +[0-9]+ +[0-9.]+ % ' <<<"$text"
}

@test "report: a stop, a start, a kill -9 of the broker and of the daemon count nothing twice" {
	pyprepctl submit -q sumsq n=1000 --count 100 >/dev/null
	before=$(row '"\(.n) \(.run_ns) \(.stages.run_ns)"' --kind sumsq)
	pyprepctl stop
	wait "$DAEMON"
	again
	[ "$(row '"\(.n) \(.run_ns) \(.stages.run_ns)"' --kind sumsq)" = "$before" ]
	pyprepctl submit -q sumsq n=1000 --count 50 >/dev/null
	before=$(row '"\(.n) \(.run_ns) \(.stages.run_ns)"' --kind sumsq)
	[[ $before == "150 "* ]]
	# once it is stored (some seconds), a kill costs nothing
	until_true stored_is_new
	for victim in broker daemon broker; do
		if [ "$victim" = broker ]; then
			old=$(pyprepctl status --json | jq .broker.pid)
			kill -9 "$old"
			until_status ".broker.pid > 0 and .broker.pid != $old"
		else
			kill -9 "$DAEMON"
			wait "$DAEMON" || true
			again
		fi
		[ "$(row '"\(.n) \(.run_ns) \(.stages.run_ns)"' --kind sumsq)" = "$before" ]
	done
}

# Has the row of sumsq in the store been written since 150 jobs were counted?
stored_is_new() {
	python3 - "$PYPREP_STATE_DIR/store.db" <<-'PYTHON'
		import sqlite3, sys
		at = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
		row = at.execute("SELECT figures FROM tally WHERE kind = 'sumsq'").fetchone()[0]
		sys.exit(row[0:3] != bytes([1, 150 & 127 | 128, 150 >> 7]))  # version 1, then the jobs
	PYTHON
}

@test "report: detached jobs and the attempts of those that were tried again" {
	id=$(pyprepctl submit --detach -q --retries 2 --backoff const:1ms exec -- sh -c 'exit 1')
	pyprepctl wait -q "$id" || [ $? = 1 ]
	[ "$(row '"\(.n) \(.calls) \(.outcomes.failed)"' --kind exec)" = "1 3 1" ]
	grep -q '^exec: 1 jobs: 1 failed (1 exit); 3 attempts$' <<<"$(pyprepctl report --stages --kind exec)"
}

@test "report: no jobs is no error; older days are not in today's" {
	json '.rows == [] and .all.n == 0' report --json
	says 0 'no job has ended in these days' report
	pyprepctl run -q noop
	[ "$(row .n --since today)" = 1 ]
	[ "$(row .n --since all)" = 1 ]
	[ "$(row .n --since 1d)" = 1 ]
	[ "$(row .n --since "$(date -u +%F)")" = 1 ]
	json '.rows == []' report --json --since "$(date -u -d tomorrow +%F)"
}

@test "report: what is wrong is said" {
	says 2 "there are no figures of a kind \"sumqs\"; did you mean \"sumsq\"?" report --kind sumqs
	says 2 "there are no figures of a pool \"cup\"; did you mean \"cpu\"?" report --pool cup
	says 2 "did you mean 'kind'?" report --by kid
	says 2 "not by user; 'pyprepctl ls" report --by user
	says 2 "a day such as 2026-11-13, not '2026-02-30'" report --since 2026-02-30
	says 2 "not '0d'" report --since 0d
	says 2 "not '7x'" report --since 7x
	says 2 "--sort goes with --profile" report --sort calls
	says 2 "take --stages or --profile" report --stages --profile
	says 2 "report takes no words, not 'noop'" report noop
	says 0 'no job has ended' report --kind sumsq
}
