# helpers.bash - for the tests of pyprepctl: a private daemon, and checks of what was said.
#
# PYPREP_BIN is where pyprepd and pyprepctl lie (default: build/dev/bin of this tree).

: "${PYPREP_BIN:=$BATS_TEST_DIRNAME/../../build/dev/bin}"
PATH=$PYPREP_BIN:$PATH

# Start a daemon of this test's own and wait until it answers.  Further arguments go to it.
daemon_start() {
	PRIVATE=$(mktemp -d)
	export PYPREP_RUNTIME_DIR=$PRIVATE/run PYPREP_STATE_DIR=$PRIVATE/state
	mkdir "$PYPREP_RUNTIME_DIR" "$PYPREP_STATE_DIR"
	# bats waits for whoever holds its descriptor 3
	"$PYPREP_BIN/pyprepd" "$@" >"$PRIVATE/log" 2>&1 3>&- &
	DAEMON=$!
	if ! pyprepctl ping -q --wait 60; then
		cat "$PRIVATE/log"
		return 1
	fi
}

daemon_stop() {
	[ -n "${DAEMON:-}" ] || return 0
	kill -TERM "$DAEMON" 2>/dev/null
	for _ in $(seq 600); do
		kill -0 "$DAEMON" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$DAEMON" 2>/dev/null
	wait "$DAEMON" 2>/dev/null
	DAEMON=
	rm -rf "$PRIVATE"
}

# A daemon for all tests of a file: setup_file writes where it is, each test reads it.
daemon_share() {
	printf '%s\n' "PRIVATE=$PRIVATE DAEMON=$DAEMON" >"$BATS_FILE_TMPDIR/daemon"
}

daemon_of_file() {
	. "$BATS_FILE_TMPDIR/daemon"
	export PYPREP_RUNTIME_DIR=$PRIVATE/run PYPREP_STATE_DIR=$PRIVATE/state
}

# says STATUS TEXT ARGS...: pyprepctl ARGS ends with STATUS and says TEXT (a part of it) on
# stdout or stderr.
says() {
	local status_wanted=$1 text=$2
	shift 2
	# not `run`: it warns of 127, which is a right answer here
	status=0
	output=$(pyprepctl "$@" 2>&1) || status=$?
	if [ "$status" -ne "$status_wanted" ]; then
		echo "pyprepctl $*: status $status, expected $status_wanted; it said: $output"
		return 1
	fi
	case $output in
	*"$text"*) ;;
	*)
		echo "pyprepctl $*: expected '$text', it said: $output"
		return 1
		;;
	esac
}

# json EXPRESSION ARGS...: each line of `pyprepctl ARGS` is JSON for which the jq expression is
# true.  The command's own status is left in $ctl_status, its pid in $ctl_pid.
json() {
	local expression=$1 line said=$BATS_TEST_TMPDIR/json
	shift
	ctl_status=0
	pyprepctl "$@" <&0 >"$said" 2>"$said.stderr" 3>&- &
	ctl_pid=$!
	wait "$ctl_pid" || ctl_status=$?
	json_lines=$(<"$said")
	[ -n "$json_lines" ] || { echo "pyprepctl $*: status $ctl_status, no JSON"; cat "$said.stderr"; return 1; }
	while IFS= read -r line; do
		if ! jq -e "$expression" >/dev/null <<<"$line"; then
			echo "pyprepctl $*: status $ctl_status, not ($expression): $line"
			cat "$said.stderr"
			return 1
		fi
	done <<<"$json_lines"
}

# until_true COMMAND...: wait until it succeeds.
until_true() {
	local end=$((SECONDS + 120))
	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || { echo "never came: $*"; return 1; }
		sleep 0.02
	done
}

# never COMMAND...: it fails; a mere `!` is not seen by bats but in a test's last line.
never() {
	! "$@" || { echo "did not fail: $*"; return 1; }
}

# until_status EXPRESSION: wait until the daemon's status is one for which the jq expression is
# true.
until_status() {
	until_true status_is "$1" || { pyprepctl status --json; return 1; }
}

status_is() {
	pyprepctl status --json | jq -e "$1" >/dev/null
}

# left_by WHAT PID: what the `pyprepctl WHAT` that had this pid left behind; others may run.
left_by() {
	find /tmp /dev/shm -maxdepth 1 2>/dev/null | grep -E "[/.-]$1-$2([^0-9]|\$)" || true
}
