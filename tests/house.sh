#!/usr/bin/env bash
# The rules of the house that a compiler does not know. Prints ok / not ok lines.
cd "$(dirname "$0")/.." || exit 2

# none NAME COMMAND...: the command must print nothing.
none() {
  local name=$1 out
  shift
  out=$("$@" 2>/dev/null | head -5)
  if [ -z "$out" ]; then echo "ok house $name"; else
    printf '%s\n' "$out" | sed 's/^/# /'
    echo "not ok house $name"
  fi
}

lines() { grep -rnE "$@" --include='*.c' --include='*.h' --include='*.inc'; }
code() { lines "$@" | grep -vE '^[^:]+:[0-9]+: *(\*|/\*|//)'; }

none "core does not know the server" lines '#include *"server/' core include
none "core does not know JSON libraries, YAML, HTTP or SQL" lines '#include *<(jansson|yaml|microhttpd|sqlite3)\.h>' core include
none "the server enters core by include/quern only" lines '#include *"core/' server
none "kernels do not know graphs" lines '#include *"core/(graph|ops|onnx|plan)/' core/kernels
none "ops do not know files" lines '#include *"core/(onnx|plan)/' core/ops
none "no banned or unbounded function" code '\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atof|gets|alloca|rand|srand|system|popen|setlocale)\(' core server include
none "core reads no clock" code '\b(clock_gettime|gettimeofday|time)\(' core include
none "models are never mapped from files" code '\bmmap\([^)]*\bfd\b' core server
none "only core/onnx/file.c opens model files" bash -c "grep -rnE '\\b(open|openat|fopen)\\(' core --include='*.c' | grep -vE '^core/(onnx/file|tensor/npy|base/cpu)\\.c'"
none "no promises left in the code" lines -i '\b(TODO|FIXME|XXX|HACK|not implemented yet|stub|placeholder)\b' core server include
none "every room has a README" bash -c 'for d in $(git ls-files -co --exclude-standard "core/*" "server/*" | grep / | sed "s#/[^/]*\$##" | sort -u | awk -F/ "NF==2"); do [ -f "$d/README.md" ] || echo "$d"; done; for d in core server include/quern models config tests systemd docs; do [ -f $d/README.md ] || echo $d; done'
none "files read in one sitting (900 lines)" bash -c 'git ls-files -co --exclude-standard "core/*.[ch]" "server/*.[ch]" "include/*.h" | xargs wc -l | awk "\$1 > 900 && \$2 != \"total\""'
none "functions of a header carry the prefix qn_" bash -c "grep -rnhE '^[a-z][A-Za-z_0-9 *]* \\*?[a-z][a-z_0-9]*\\(.*;' include core server --include='*.h' | grep -vE '\\bqn_|^[^(]*typedef|__builtin' | grep -vE '^ *return|static|inline'"
none "docs/operators.md is the table of ops" bash -c "[ ! -x build/quern_optable ] || build/quern_optable | diff - docs/operators.md"
none "attributes that ops read have a type in core/graph/attributes.def" bash -c 'grep -rhoE "qn_node_(int|float|str|ints|floats|attr)\([^\"]*\"[A-Za-z_0-9]+\"" core/ops core/graph | grep -oE "\"[A-Za-z_0-9]+\"" | sort -u | while read -r n; do grep -q "($n," core/graph/attributes.def || echo "$n"; done'
