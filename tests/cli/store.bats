# store.bats - pyprepctl store: a store is looked at, damaged, refused, repaired, and used again.
bats_require_minimum_version 1.5.0
load helpers

setup() { daemon_start; }
teardown() { daemon_stop; }

stop_daemon() {
	pyprepctl stop >/dev/null
	wait "$DAEMON" || true
	DAEMON=
}
start_daemon() {
	"$PYPREP_BIN/pyprepd" >>"$PRIVATE/log" 2>&1 3>&- &
	DAEMON=$!
	pyprepctl ping -q --wait 60
}
# Somewhere in the middle of the database a disk has changed a few bytes.
damage() {
	local size
	size=$(stat -c %s "$PYPREP_STATE_DIR/store.db")
	printf 'XXXX' | dd of="$PYPREP_STATE_DIR/store.db" bs=1 seek=$((size / 8192 * 4096 + ${1:-2000})) conv=notrunc status=none
}

@test "store check: not while a daemon uses it; whole afterwards; nothing where there is none" {
	pyprepctl submit -d -q -n 20 noop | xargs pyprepctl wait -q
	run -75 --separate-stderr pyprepctl store check
	[[ $stderr == *"a daemon uses it; stop it first"* ]]
	run -75 --separate-stderr pyprepctl store repair
	stop_daemon
	run -0 pyprepctl store check
	[ "${lines[0]}" = "$PYPREP_STATE_DIR/store.db: whole" ]
	[[ $output == *"0 open and 20 ended jobs, 20 attempts"* ]]
	run -0 pyprepctl store repair
	[ "${lines[0]}" = "$PYPREP_STATE_DIR/store.db: whole" ]
	run -66 --separate-stderr pyprepctl store check --state-dir "$PRIVATE/none"
	[[ $stderr == *"there is no store"* ]]
	[ ! -e "$PRIVATE/none" ]
	start_daemon
}

@test "store: damaged, refused, repaired: what was not hit runs on, once" {
	pyprepctl pool pause cpu -q
	ids=$(pyprepctl submit -d -q -n 400 noop)
	done_id=$(pyprepctl submit -d -q exec -- sh -c 'echo kept')
	pyprepctl wait -q "$done_id"
	stop_daemon
	damage
	run -65 pyprepctl store check
	[ "${lines[0]}" = "$PYPREP_STATE_DIR/store.db: damaged" ]
	[[ $output == *"page "*", at byte "*" of store.db"* ]]
	[[ $output == *"pyprepctl store repair" ]]
	run -65 "$PYPREP_BIN/pyprepd"
	[[ $output == *"is damaged"* && $output == *"pyprepctl store repair"* ]]
	run -0 pyprepctl store repair --json
	[ "$(jq -r '.verdict, .schema, .kept' <<<"$output" | xargs)" = "repaired pyprep.store/1 store.db.damaged" ]
	open=$(jq .open <<<"$output")
	[ "$open" -ge 350 ] && [ "$open" -lt 401 ]
	[ -s "$PYPREP_STATE_DIR/store.db.damaged" ]
	run -0 pyprepctl store check
	start_daemon
	run -0 pyprepctl logs "$done_id"
	[ "$output" = kept ]
	# A new number is none that was given before.
	[ "$(pyprepctl submit -d -q noop)" -gt "$done_id" ]
	for id in $ids; do
		run -0 --separate-stderr pyprepctl wait -q "$id" || [ $status = 3 ]
	done
	[ "$(pyprepctl ls --state succeeded --json --limit 1000 | jq -s '[.[] | select(.kind == "noop" and .attempt == 1)] | length')" -eq $((open + 1)) ]
}

@test "store: wrong words are named" {
	run -2 --separate-stderr pyprepctl store chek
	[[ $stderr == *"did you mean 'check'?"* ]]
	run -2 --separate-stderr pyprepctl store
	[[ $stderr == *"check or repair"* ]]
	run -2 --separate-stderr "$PYPREP_BIN/pyprepd" --check-store --repair-store
	run -2 --separate-stderr "$PYPREP_BIN/pyprepd" --json
}
