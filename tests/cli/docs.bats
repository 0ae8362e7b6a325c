#!/usr/bin/env bats
# docs.bats - the documents say what the programs do: names and values are read from the sources and
# from the programs' own help, and looked for in the pages; the README's program is compiled and
# run; an installation lies where it should.

load helpers

ROOT=$BATS_TEST_DIRNAME/../..

teardown() {
	daemon_stop
	[ -z "${STAGE:-}" ] || rm -rf "$STAGE"
}

# page NAME: the manual page as plain text
page() {
	mandoc -Tutf8 "$ROOT/docs/$1" | sed 's/.\x08//g'
}

# say_missing PAGE WORDS: fail, naming them, when there are any
say_missing() {
	[ -z "$2" ] || { echo "docs/$1 lacks: $2"; return 1; }
}

@test "protocol.md: every message of the list, with its value" {
	missing=
	while read -r name value; do
		grep -qF "| \`$name\` | $value |" "$ROOT/docs/protocol.md" || missing+=" $name=$value"
	done < <(sed -nE 's/.*X\((MSG_[A-Z_]+), *([0-9]+),.*/\1 \2/p' "$ROOT/ipc/message.h")
	[ "$(grep -cE '^	X\(MSG_' "$ROOT/ipc/message.h")" -gt 20 ]
	say_missing protocol.md "$missing"
	version=$(sed -nE 's/^#define PROTOCOL_VERSION ([0-9]+)u$/\1/p' "$ROOT/ipc/message.h")
	grep -qF "Version $version." "$ROOT/docs/protocol.md"
}

@test "protocol.md: no message that is not in the list" {
	for name in $(grep -oE 'MSG_[A-Z_]+' "$ROOT/docs/protocol.md" | sort -u); do
		grep -q "X($name," "$ROOT/ipc/message.h" || { echo "$name is no message"; return 1; }
	done
}

@test "protocol.md: every verb, and none that is not" {
	verbs=$(grep -ohE '\{ "[a-z]+", ACCESS_' "$ROOT/daemon/requests.c" | cut -d'"' -f2 | sort)
	[ "$(wc -w <<<"$verbs")" -gt 10 ]
	told=$(sed '1,/^## Requests/d' "$ROOT/docs/protocol.md" | sed -nE 's/^\| `([a-z]+)` \|.*/\1/p' | sort)
	diff <(echo "$verbs") <(echo "$told")
}

@test "protocol.md: every key of a map of policies, and none that is not" {
	keys=$(sed -nE 's/^	\{ "([a-z_]+)", read_.*/\1/p' "$ROOT/daemon/policy_fields.c")
	[ "$(wc -l <<<"$keys")" -gt 10 ]
	told=$(sed '1,/^### Policies/d; /^## /,$d' "$ROOT/docs/protocol.md" | sed -nE 's/^\| `([a-z_]+)` \|.*/\1/p')
	diff <(echo "$keys") <(echo "$told")
}

@test "protocol.md: every error word with its exit status, in the order of the wire" {
	errors=$(sed -nE 's/.*X\(ERR_[A-Z_]+, *"([a-z_]+)", *([0-9]+)\).*/\1 \2/p' "$ROOT/ipc/receipt.h")
	[ "$(wc -l <<<"$errors")" -gt 20 ]
	told=$(sed -nE 's/^\| `([a-z_]+)` \| ([0-9]+) \| .*/\1 \2/p' "$ROOT/docs/protocol.md")
	diff <(echo "$errors") <(echo "$told")
}

@test "protocol.md: every state and every cause" {
	missing=
	for word in $(sed -nE 's/.*X\((JOB|CAUSE)_[A-Z_]+, *"([a-z_]+)"\).*/\2/p' "$ROOT/ipc/receipt.h"); do
		grep -qF "\`$word\`" "$ROOT/docs/protocol.md" || missing+=" $word"
	done
	say_missing protocol.md "$missing"
}

@test "pyprepctl(1): every error word and its exit status" {
	missing=
	text=$(page pyprepctl.1)
	while read -r word status; do
		[ "$status" = 0 ] && continue
		entry=$(awk -v s="     $status" '
			/^EXIT STATUS/ { here = 1 }
			/^EXAMPLES/ { here = 0 }
			here && /^     [0-9]/ { mine = index($0 " ", s " ") == 1 || index($0, s ",") == 1 }
			here && mine' <<<"$text")
		grep -qw -- "$word" <<<"$entry" || missing+=" $word=$status"
	done < <(sed -nE 's/.*X\(ERR_[A-Z_]+, *"([a-z_]+)", *([0-9]+)\).*/\1 \2/p' "$ROOT/ipc/receipt.h")
	say_missing pyprepctl.1 "$missing"
}

@test "pyprepctl(1): every command, and under it every option that its help prints" {
	missing=
	text=$(page pyprepctl.1)
	commands=$(pyprepctl help | sed -n '/^Commands:/,/^$/p' | awk 'NR > 1 && NF { print $1 }')
	[ "$(wc -w <<<"$commands")" -gt 10 ]
	for command in $commands; do
		section=$(awk -v c="$command" '
			/^COMMANDS/ { here = 1 }
			/^JSON/ { here = 0 }
			/^   [a-z]/ { mine = $1 == c }
			here && mine' <<<"$text")
		[ -n "$section" ] || { missing+=" $command"; continue; }
		for option in $(pyprepctl help "$command" |
				sed -n '/^Options:/,/^$/p' | grep -oE '^ +(-., )?--[a-z-]+' | grep -oE -- '--?[a-z-]+'); do
			grep -qE -- "(^|[^a-z-])$option([^a-z-]|\$)" <<<"$section" ||
				missing+=" $command:$option"
		done
	done
	for option in $(pyprepctl help | sed -n '/^Global options:/,/^$/p' | grep -oE -- '--[a-z-]+'); do
		grep -q -- "^     .*$option" <<<"$text" || missing+=" $option"
	done
	say_missing pyprepctl.1 "$missing"
}

@test "pyprepctl(1): no command that is not there" {
	told=$(page pyprepctl.1 | sed -n '/^COMMANDS/,/^JSON/p' | sed -nE 's/^   ([a-z]+)( .*)?$/\1/p' | sort -u)
	diff <(pyprepctl help | sed -n '/^Commands:/,/^$/p' | awk 'NR > 1 && NF { print $1 }' | sort) <(echo "$told")
}

@test "pyprepd(8): every option and every variable" {
	missing=
	text=$(page pyprepd.8)
	for option in $("$PYPREP_BIN/pyprepd" --help | grep -oE -- '--[a-z-]+' | sort -u); do
		grep -q -- "^     $option" <<<"$text" || missing+=" $option"
	done
	for variable in $(grep -rhoE '"PYPREP_[A-Z_]+"' "$ROOT"/daemon/*.c | tr -d '"' | sort -u); do
		grep -q "^     $variable" <<<"$text" || missing+=" $variable"
	done
	say_missing pyprepd.8 "$missing"
}

@test "pyprepd(8): every event of the log with its message id, every field of the journal" {
	missing=
	text=$(page pyprepd.8)
	while read -r word id; do
		grep -qE "^     $word +$id " <<<"$text" || missing+=" $word=$id"
	done < <(sed -nE 's/.*X\(LOG_[A-Z_]+, *"([a-z_]+)", *"([0-9a-f]{32})"\).*/\1 \2/p' "$ROOT/daemon/log_ids.h")
	[ "$(grep -cE '^	X\(LOG_' "$ROOT/daemon/log_ids.h")" -gt 15 ]
	[ "$(grep -oE '"[0-9a-f]{32}"' "$ROOT/daemon/log_ids.h" | sort | uniq -d)" = "" ]
	for field in $(sed -nE 's/.*add_field\(ret, &n, "([a-z_]+)".*/\1/p' "$ROOT/daemon/log_text.c"); do
		grep -q "PYPREP_${field^^}" <<<"$text" || missing+=" $field"
	done
	say_missing pyprepd.8 "$missing"
}

@test "pyprepd.conf(5): every key" {
	missing=
	text=$(page pyprepd.conf.5)
	for key in $(sed -nE 's/.*\{ (DAEMON|POOL|RESOURCE)\(([a-z_]+)\),.*/\2/p' "$ROOT/daemon/config_keys.c"); do
		grep -q "^     $key =" <<<"$text" || missing+=" $key"
	done
	say_missing pyprepd.conf.5 "$missing"
}

# store_item NAME: what pyprep-store(5) says of this table or view, as source
store_item() {
	awk -v name="$1" '
		/^\.Sh / { here = $2 == "VIEWS" || $2 == "TABLES" }
		here && /^\.It Ic / { mine = $3 == name }
		mine' "$ROOT/docs/pyprep-store.5"
}

@test "pyprep-store(5): every table, view and column of a store, and none that is not" {
	daemon_start
	pyprepctl submit --detach -q noop >/dev/null
	missing=
	names=$(sqlite3 -readonly "$PYPREP_STATE_DIR/store.db" "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
	[ "$(wc -w <<<"$names")" -gt 7 ]
	for name in $names; do
		item=$(store_item "$name")
		[ -n "$item" ] || missing+=" $name"
		columns=$(sqlite3 -readonly "$PYPREP_STATE_DIR/store.db" "SELECT name FROM pragma_table_xinfo('$name')")
		for column in $columns; do
			grep -E '^\.(It )?Va ' <<<"$item" | grep -qw -- "$column" || missing+=" $name.$column"
		done
		for told in $(grep -E '^\.(It )?Va ' <<<"$item" | sed -E 's/^\.(It )?Va //; s/ Ta( .*|$)//; s/ No .*//; s/[,:]/ /g'); do
			grep -qxw -- "$told" <<<"$columns" || missing+=" (not there: $name.$told)"
		done
	done
	for told in $(sed -n '/^\.Sh VIEWS/,/^\.Sh EXAMPLES/s/^\.It Ic //p' "$ROOT/docs/pyprep-store.5"); do
		grep -qx "$told" <<<"$names" || missing+=" (not there: $told)"
	done
	say_missing pyprep-store.5 "$missing"
	version=$(sqlite3 -readonly "$PYPREP_STATE_DIR/store.db" 'PRAGMA user_version')
	grep -q "^is the version of what this page says, $version\.\$" "$ROOT/docs/pyprep-store.5"
}

@test "pyprep-store(5): its examples find jobs in a store, while the daemon runs" {
	daemon_start
	for _ in $(seq 41); do pyprepctl submit --detach -q noop; done >/dev/null
	id=$(pyprepctl submit --detach -q exec -- sh -c 'echo hello; exit 3')
	[ "$id" = 42 ]
	pyprepctl wait -q "$id" || [ $? = 3 ]
	pyprepctl submit --detach -q --hold noop >/dev/null
	until_true has_figures
	STAGE=$(mktemp -d)
	awk -v to="$STAGE" '
		/^\.Sh EXAMPLES/ { here = 1 }
		/^\.Ed/ { reading = 0 }
		reading { print >(to "/" n) }
		here && /^\.Bd/ { reading = 1; n++ }' "$ROOT/docs/pyprep-store.5"
	[ "$(find "$STAGE" -type f | wc -l)" -gt 5 ]
	for query in "$STAGE"/*; do
		run sqlite3 -readonly "$PYPREP_STATE_DIR/store.db" <"$query"
		cat "$query"
		echo "$output"
		[ "$status" -eq 0 ] && [ -n "$output" ]
	done
	[ "$(sqlite3 -readonly "$PYPREP_STATE_DIR/store.db" <"$STAGE/4")" = hello ]
	[ "$(sqlite3 -readonly "$PYPREP_STATE_DIR/store.db" <"$STAGE/1")" = '42|exec|exit|3|exited with status 3' ]
}

has_figures() {
	[ "$(sqlite3 -readonly "$PYPREP_STATE_DIR/store.db" "SELECT count(*) FROM tally WHERE kind <> ''")" -gt 1 ]
}

@test "pyprep-timings(7): every stage, every method, every figure" {
	missing=
	text=$(page pyprep-timings.7)
	for word in submit store queue dispatch run return total residual; do
		grep -q "^     $word " <<<"$text" || missing+=" $word"
	done
	for method in $(grep -oE '\[USAGE_[A-Z]+\] = "[a-z]+"' "$ROOT/client/decode.c" | cut -d'"' -f2); do
		grep -q "^   $method\$" <<<"$text" || missing+=" $method"
	done
	say_missing pyprep-timings.7 "$missing"
}

@test "README: links lead somewhere, and every folder of code is in the tour" {
	for link in $(grep -oE '\]\([^)#]+\)' "$ROOT/README.md" "$ROOT"/docs/*.md -h | tr -d '()]' | sort -u); do
		[ -e "$ROOT/$link" ] || [ -e "$ROOT/docs/$link" ] || { echo "no $link"; return 1; }
	done
	for folder in shm ipc daemon daemon/executors daemon/kinds client client/ctl tests systemd docs; do
		grep -qF "\`$folder/\`" "$ROOT/README.md" || { echo "no tour of $folder/"; return 1; }
	done
}

# The program of the README, against a library: readme_program CC-ARGUMENTS...
readme_program() {
	sed -n '/^```c$/,/^```$/p' "$ROOT/README.md" | sed '1d;$d' >"$STAGE/four.c"
	cc -Wall -Wextra -Werror -o "$STAGE/four" "$STAGE/four.c" "$@"
	daemon_start
	run "$STAGE/four"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(grep -cE '^job [0-9]+ succeeded: run [0-9]+ of [0-9]+ ns$' <<<"$output")" -eq 4 ]
}

@test "README: its program compiles, and runs four jobs" {
	STAGE=$(mktemp -d)
	readme_program -I"$ROOT/client" -L"$PYPREP_BIN/../lib" -lpyprep -Wl,-rpath,"$PYPREP_BIN/../lib"
}

# The program of protocol.md in this language, into FILE
protocol_program() {
	sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" "$ROOT/docs/protocol.md" | sed '1d;$d' >"$2"
	[ "$(wc -l <"$2")" -gt 15 ]
}

five_squares() {
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(sort <<<"$output")" = "$(for x in 0 1 2 3 4; do echo "square of $x is $((x * x)), state 2"; done)" ]
}

@test "protocol.md: its program for the lane unix runs five jobs with Python alone" {
	STAGE=$(mktemp -d)
	protocol_program python "$STAGE/five.py"
	daemon_start
	run timeout 300 python3 "$STAGE/five.py"
	five_squares
}

@test "protocol.md: its program for the lane zmq compiles, and runs five jobs" {
	STAGE=$(mktemp -d)
	protocol_program c "$STAGE/five.c"
	cc -Wall -Wextra -Werror -o "$STAGE/five" "$STAGE/five.c" -lzmq
	printf '[daemon]\nzmq_lane = yes\n' >"$STAGE/conf"
	daemon_start --config "$STAGE/conf"
	run timeout 300 "$STAGE/five"
	five_squares
}

@test "install: everything lies where it should, and a program finds the library" {
	STAGE=$(mktemp -d)
	build=$PYPREP_BIN/..
	DESTDIR=$STAGE cmake --install "$build" >"$STAGE/log"
	prefix=$STAGE$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
	libdir=$(dirname "$(find "$prefix/lib" -name libpyprep.so)")
	for file in bin/pyprepctl sbin/pyprepd include/pyprep.h lib/systemd/system/pyprepd.service \
		lib/systemd/system/pyprepd.socket lib/sysusers.d/pyprep.conf lib/tmpfiles.d/pyprep.conf \
		share/man/man1/pyprepctl.1 share/man/man5/pyprepd.conf.5 share/man/man5/pyprep-store.5 share/man/man7/pyprep-timings.7 \
		share/man/man8/pyprepd.8 share/doc/pyprep/README.md share/doc/pyprep/LICENSE \
		share/doc/pyprep/CHANGELOG.md share/doc/pyprep/architecture.md share/doc/pyprep/protocol.md \
		share/bash-completion/completions/pyprepctl share/zsh/vendor-completions/_pyprepctl \
		share/fish/vendor_completions.d/pyprepctl.fish; do
		[ -s "$prefix/$file" ] || { echo "no $file"; cat "$STAGE/log"; return 1; }
	done
	[ -s "$libdir/pyprep/fetch.so" ]
	[ -s "$(find "$STAGE" -path '*/etc/pyprep/pyprepd.conf')" ]
	[ "$(find "$STAGE" -name '*.a')" = "$libdir/libpyprep-ipc.a" ]

	# the installed daemon, library and pkg-config file together
	PYPREP_BIN=$prefix/sbin
	PATH=$prefix/bin:$PATH
	export PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$STAGE
	[ "$(pkg-config --modversion pyprep)" = "$(pyprepctl --version | cut -d' ' -f2)" ]
	readme_program $(pkg-config --cflags --libs pyprep) -Wl,-rpath,"$libdir"
}

@test "pyprep-ipc(7): its program compiles against the installed library, runs, and leaves nothing" {
	STAGE=$(mktemp -d)
	build=$PYPREP_BIN/..
	DESTDIR=$STAGE cmake --install "$build" >"$STAGE/log"
	prefix=$STAGE$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
	libdir=$(dirname "$(find "$prefix/lib" -name libpyprep-ipc.a)")
	export PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$STAGE
	sed -n '/^\.Bd -literal$/,/^\.Ed$/p' "$ROOT/docs/pyprep-ipc.7" |
		sed -n '/squares\.c/,/^\.Ed/p' | sed '$d; s/\\e/\\/g' >"$STAGE/squares.c"
	cc -Wall -Wextra -Werror -fPIE -pie -o "$STAGE/squares" "$STAGE/squares.c" \
		$(pkg-config --cflags --libs pyprep-ipc)
	"$STAGE/squares" >"$STAGE/said" 3>&- &
	pid=$!
	wait "$pid"
	[ "$(cat "$STAGE/said")" = 332833500 ]
	[ -z "$(find /dev/shm -name "*squares-$pid")" ]
}

@test "install: each header of pyprep-ipc compiles alone, and includes only what is installed" {
	STAGE=$(mktemp -d)
	DESTDIR=$STAGE cmake --install "$PYPREP_BIN/.." >"$STAGE/log"
	include=$(find "$STAGE" -path '*/include/pyprep' -type d)
	headers=$(cd "$include" && find . -name '*.h' | sed 's,^\./,,')
	[ "$(wc -l <<<"$headers")" -gt 15 ]
	for header in $headers; do
		echo "#include <$header>" | cc -Wall -Wextra -Werror -I"$include" -fsyntax-only -x c - ||
			{ echo "$header does not stand alone"; return 1; }
	done
	for header in shm/{array,counter,lock,semaphore,event,barrier,named,owner,ring,segment,futex}.h \
		ipc/{queue,pipe,wake,clock}.h; do
		[ -s "$include/$header" ] || { echo "no $header"; return 1; }
	done
}

@test "completions: bash reads what pyprepctl prints, and completes by it" {
	run bash -c 'source <(pyprepctl completion bash)
		COMP_WORDS=(pyprepctl submit --pri) COMP_CWORD=2; _pyprepctl; echo "${COMPREPLY[@]}"
		COMP_WORDS=(pyprepctl rel) COMP_CWORD=1; _pyprepctl; echo "${COMPREPLY[@]}"'
	[ "${lines[0]}" = --priority ]
	[ "${lines[1]}" = "release reload" ]
}
