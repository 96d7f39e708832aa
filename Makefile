# libuma. `make help` lists the targets.
# Everything is built into build/ (build/san-NAME/ with SAN=NAME); nothing is written elsewhere but by `make install`.

CC      ?= gcc
PREFIX  ?= /usr/local
VERSION := 0.1.0
SAN     ?=
B       := build$(if $(SAN),/san-$(SAN))

PACKAGES := numa liburing jansson libconfig
HEADERS  := libfabric pmix # loaded when they are used (fabric/ofi_load.h, uma/pmix.c)
# What each goal needs: the name that pkg-config knows, a program after a !, or a header, = its Debian package.
NEED      := !pkg-config=pkg-config !m4=m4 numa=libnuma-dev liburing=liburing-dev jansson=libjansson-dev libconfig=libconfig-dev \
             libfabric=libfabric-dev pmix=libpmix-dev uthash.h=uthash-dev
NEED_TEST := $(NEED) criterion=libcriterion-dev !mpirun=openmpi-bin !ip=iproute2
NEED_FUZZ := $(NEED) !clang=clang /usr/lib/llvm-*/lib/clang/*/include/fuzzer=libclang-rt-14-dev
NEED_DEMO := $(NEED) !gnuplot=gnuplot-nox
NEED_PAGES := $(NEED_TEST) !chromium=chromium !npm=npm
NEED_SLURM := $(NEED_TEST) !srun=slurm-client !slurmctld=slurmctld !slurmd=slurmd /usr/lib/*/slurm*/mpi_pmix.so=slurm-wlm-basic-plugins

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wno-unused-parameter
ALL     := -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=default -pthread -I. -Iinclude -DUMA_VERSION='"$(VERSION)"' $(WARN) -MMD -MP
PKG      = $(shell pkg-config --cflags $(PACKAGES) $(HEADERS) 2>/dev/null)
LIBS     = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -pthread -lm
ifneq ($(SAN),)
ALL     += -fsanitize=$(SAN) -fno-omit-frame-pointer -DUMA_SAN $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=all)
LIBS    += -fsanitize=$(SAN)
endif

# main.c, cmd_*.c and trace_*.c are the command; bench/*.c are its `bench`; everything else in uma/, coherence/, fabric/ is the library.
COMMAND_C := $(wildcard uma/main.c uma/cmd_*.c uma/trace_*.c) $(filter-out bench/peer_%.c,$(wildcard bench/*.c))
LIBRARY_C := $(filter-out $(COMMAND_C),$(wildcard uma/*.c coherence/*.c fabric/*.c))
EXAMPLES  := $(patsubst examples/%.c,%,$(wildcard examples/*.c))
# Programs with PARMACS macros
PARMACS      := $(patsubst %.c.in,%,$(wildcard examples/parmacs/*.c.in))
TEST_PARMACS := $(patsubst %.c.in,%,$(wildcard tests/*.c.in))
# Programs that tests run
PROGRAMS     := $(patsubst %.c,%,$(wildcard tests/programs/*.c))
ifeq ($(SAN),thread)
# ThreadSanitizer needs its addresses to stay where it expects them, and does not go together with Criterion; it knows no fences, which only
# decide here whether a sleeper is woken.
ALL += -Wno-tsan -Itests/plain
# Counting allocates inside the handler of a page fault, which never interrupts malloc.
TEST_WRAPPER := TSAN_OPTIONS=report_signal_unsafe=0 setarch -R
TEST_MAIN    := $B/obj/tests/plain/main.o
TEST_LIBS    :=
else
TEST_LIBS    := -lcriterion
endif
LIBRARY_O := $(LIBRARY_C:%.c=$B/obj/%.o)
COMMAND_O := $(COMMAND_C:%.c=$B/obj/%.o)
FUZZ_C    := $(filter-out tests/fuzz/driver.c tests/fuzz/libfabric.c,$(wildcard tests/fuzz/*.c))
TEST_O    := $(patsubst %.c,$B/obj/%.o,$(wildcard tests/*.c) $(FUZZ_C))
# Open MPI and OpenSHMEM as peers of the benchmarks, where their compilers are installed, and their headers as well
compiles   = $(shell printf '\043include <$2>\n' | $1 -E -x c - >/dev/null 2>&1 && echo yes)
PEERS     := $(if $(call compiles,mpicc,mpi.h),$B/peers/mpi) $(if $(call compiles,oshcc,shmem.h),$B/peers/oshmem)

.PHONY: all demo test test-pages test-slurm bench fuzz install tidy format clean help have-needs have-fuzzer
all: $B/uma $B/libuma.so $B/libuma.a $B/libparmacs.a $(EXAMPLES:%=$B/examples/%) $(PARMACS:%=$B/%) $(PEERS)

help:
	@echo "make            build everything into build/"
	@echo "make demo       install what is missing, build, measure the communication wall, write build/report/index.html"
	@echo "make test       install what is missing, build, run all tests   (SAN=address|undefined|thread; LONG=1 for many more runs)"
	@echo "make fuzz       arbitrary bytes to what reads the network and texts, by clang's libFuzzer   (FUZZ_SECONDS=60 a target; tests/fuzz/)"
	@echo "make test-pages walk through the labs' pages in headless Chromium; installs it, and puppeteer-core from npm into build/pages/"
	@echo "make test-slurm start sessions by srun, in a cluster of namespaces (needs root); installs Slurm, and touches no cluster of this machine"
	@echo "make bench      the whole benchmark suite, into build/bench/"
	@echo "make install    into PREFIX=$(PREFIX)"
	@echo "make tidy       clang-tidy, cppcheck, format"
	@echo "make clean      remove build/"

$B/obj/%.o: %.c | have-needs
	@mkdir -p $(@D)
	$(CC) $(ALL) $(PKG) $(CFLAGS) -c $< -o $@

# The protocols and the profiles are part of the library.
$B/obj/coherence/shipped.o: $(wildcard coherence/protocols/*.protocol)
$B/obj/fabric/profile_shipped.o: $(wildcard fabric/profiles/*.conf)

# The reductions are loops for the vectoriser.
$B/obj/uma/reduce.o: CFLAGS += -O3

$B/libuma.a: $(LIBRARY_O)
	@rm -f $@
	ar rcs $@ $^

$B/libuma.so: $(LIBRARY_O)
	$(CC) -shared -Wl,-soname,libuma.so.0 $^ $(LIBS) -o $@
	@ln -sf libuma.so $B/libuma.so.0

$B/uma: $(COMMAND_O) $B/libuma.a
	$(CC) -rdynamic $^ $(LIBS) -o $@

$B/examples/%: $B/obj/examples/%.o $B/libuma.a
	@mkdir -p $(@D)
	$(CC) $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -o $@
$B/examples/kvpool: $(patsubst %.c,$B/obj/%.o,$(wildcard examples/kvpool/*.c))

$B/libparmacs.a: $B/obj/examples/parmacs/parmacs.o
	@rm -f $@
	ar rcs $@ $^

$B/obj/%.c: %.c.in examples/parmacs/uma.m4 | have-needs
	@mkdir -p $(@D)
	m4 examples/parmacs/uma.m4 $< > $@

$B/obj/%.o: $B/obj/%.c
	$(CC) $(ALL) -Iexamples/parmacs $(CFLAGS) -c $< -o $@

$(PARMACS:%=$B/%) $(TEST_PARMACS:%=$B/%): $B/%: $B/obj/%.o $B/libparmacs.a $B/libuma.a
	@mkdir -p $(@D)
	$(CC) $^ $(LIBS) -o $@

$(PROGRAMS:%=$B/%): $B/%: $B/obj/%.o $B/libuma.a
	@mkdir -p $(@D)
	$(CC) $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -o $@
$B/tests/programs/stress: $B/obj/tests/stress.o

$B/peers/mpi: bench/peer_mpi.c
	@mkdir -p $(@D)
	mpicc -std=gnu11 -O2 -o $@ $<

$B/peers/oshmem: bench/peer_oshmem.c
	@mkdir -p $(@D)
	oshcc -std=gnu11 -O2 -o $@ $<

$B/tests/all: $(TEST_O) $(TEST_MAIN) $(filter-out $B/obj/uma/main.o,$(COMMAND_O)) $B/libuma.a | $B/tests/fuzz-libfabric.so
	@mkdir -p $(@D)
	$(CC) -rdynamic $^ $(LIBS) $(TEST_LIBS) -o $@

# A libfabric without a network
$B/tests/fuzz-libfabric.so $B/fuzz/fuzz-libfabric.so: tests/fuzz/libfabric.c
	@mkdir -p $(@D)
	$(CC) -shared -fPIC -Wl,-soname,libfabric.so.1 $(PKG) $< -o $@

# The targets of tests/fuzz once more, and the library, as clang's libFuzzer wants them. What it finds stays in build/fuzz.
CLANG        ?= clang
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := ofi coherence pages mailbox wire protocol
FUZZ_FLAGS   := -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-gnu-variable-sized-type-not-at-end -Wno-unknown-pragmas
$B/fuzz/obj/%.o: %.c | have-fuzzer
	@mkdir -p $(@D)
	$(CLANG) $(ALL) $(PKG) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -c $< -o $@

$B/fuzz/obj/coherence/shipped.o: $(wildcard coherence/protocols/*.protocol)

$B/fuzz/fuzz: $(patsubst %.c,$B/fuzz/obj/%.o,$(LIBRARY_C) $(FUZZ_C) tests/fuzz/driver.c) | $B/fuzz/fuzz-libfabric.so
	$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer -rdynamic $^ $(LIBS) -o $@

# Beside the corpus it begins with what earlier runs have learnt.
.PHONY: $(FUZZ_TARGETS:%=fuzz-%)
fuzz: $(FUZZ_TARGETS:%=fuzz-%)
$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: $B/fuzz/fuzz
	@mkdir -p $B/fuzz/learnt/$*
	@UMA_FUZZ_TARGET=$* $B/fuzz/fuzz -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=16384 -close_fd_mask=2 -print_final_stats=1 \
	  -artifact_prefix=$B/fuzz/$*- $B/fuzz/learnt/$* tests/fuzz/corpus/$* > $B/fuzz/$*.log 2>&1 \
	  && echo "fuzz $*: $$(grep -E '^#.*DONE' $B/fuzz/$*.log)" || { tail -n 40 $B/fuzz/$*.log; echo "fuzz $*: found something: $B/fuzz/$*-..."; exit 1; }

# Lists what is missing of the pairs in $(1); installs it where $(2) is "install", else says how to.
define provide
@missing=; for pair in $(1); do name=$${pair%%=*}; package=$${pair#*=}; \
  case $$name in \
  !*) command -v $${name#!} >/dev/null || missing="$$missing $$package" ;; \
  /*) ls -d $$name >/dev/null 2>&1 || missing="$$missing $$package" ;; \
  *.h) $(CC) -E -include "$$name" -x c /dev/null >/dev/null 2>&1 || missing="$$missing $$package" ;; \
  *) pkg-config --exists $$name 2>/dev/null || missing="$$missing $$package" ;; \
  esac; done; \
[ -z "$$missing" ] && exit 0; \
line="apt-get install -y --no-install-recommends$$missing"; \
if [ "$(2)" != install ]; then echo "missing:$$missing. Install by: $$line" >&2; exit 1; fi; \
if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as=sudo; \
else echo "missing:$$missing. As root, run: $$line" >&2; exit 1; fi; \
echo "installing:$$missing"; \
$$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive $$line >/dev/null
endef

have-needs:
	$(call provide,$(NEED))

have-fuzzer:
	$(call provide,$(NEED_FUZZ))

demo:
	$(call provide,$(NEED_DEMO),install)
	@$(MAKE) --no-print-directory -j$$(nproc) all
	$B/uma bench --quick --no-peers $(if $(TRACE),--trace $(TRACE)) --report $B/report
	@echo; echo "The report: $B/report/index.html"

# The tests of all that touches windows once more in mode page, on one host and over two; the stress of the caches over two; then all tests.
PAGE_SUITES := @(collective|copy|heap*|kvpool|memory|message|one_connection|reduce|space|sync)/*
HOST_SUITES := @(collective|copy|memory|message|reduce|space|sync)/*
HOST_STRESS := coherent_stress/@(protocols*|line_sizes*|pages)
test:
	$(call provide,$(NEED_TEST),install)
	@$(MAKE) --no-print-directory -j$$(nproc) all $B/tests/all $(TEST_PARMACS:%=$B/%) $(PROGRAMS:%=$B/%)
	$(if $(TESTFLAGS)$(filter thread,$(SAN)),,env UMA_BUILD=$B UMA_COHERENCE=page $B/tests/all --timeout 300 --filter '$(PAGE_SUITES)')
	$(if $(TESTFLAGS)$(SAN),,env UMA_BUILD=$B UMA_COHERENCE=page UMA_TEST_HOSTS=2 $B/tests/all --timeout 300 --filter '$(HOST_SUITES)')
	$(if $(TESTFLAGS)$(SAN),,env UMA_BUILD=$B UMA_HOSTS=2 $B/tests/all --timeout 300 --filter '$(HOST_STRESS)')
	$(TEST_WRAPPER) env UMA_BUILD=$B $(if $(LONG),UMA_TEST_LONG=1) $B/tests/all --timeout $(if $(LONG),3600,300) $(TESTFLAGS)

# Chromium is large, so `make test` does without where it is missing.
test-pages:
	$(call provide,$(NEED_PAGES),install)
	npm install --silent --no-audit --no-fund --prefix $B/pages puppeteer-core@24
	@$(MAKE) --no-print-directory -j$$(nproc) all $B/tests/all
	env UMA_BUILD=$B $B/tests/all --timeout 300 --filter 'labs_pages/*'

# Slurm's packages bring services, so `make test` does without where they are missing.
test-slurm:
	$(call provide,$(NEED_SLURM),install)
	@$(MAKE) --no-print-directory -j$$(nproc) all $B/tests/all $(PROGRAMS:%=$B/%)
	env UMA_BUILD=$B $B/tests/all --timeout 300 --filter 'launchers/*'

bench: all
	$B/uma bench --json $B/bench/rows.json --report $B/bench

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/uma
	install $B/uma $(DESTDIR)$(PREFIX)/bin/uma
	install -m 644 $B/libuma.a $(DESTDIR)$(PREFIX)/lib/libuma.a
	install $B/libuma.so $(DESTDIR)$(PREFIX)/lib/libuma.so.0
	ln -sf libuma.so.0 $(DESTDIR)$(PREFIX)/lib/libuma.so
	install -m 644 include/uma.h $(DESTDIR)$(PREFIX)/include/uma.h
	install -m 644 include/uma/*.h $(DESTDIR)$(PREFIX)/include/uma/
	@$(MAKE) --no-print-directory -C examples/labs tree OUT=$(abspath $B)/labs TREE=$(abspath $(DESTDIR)$(PREFIX))/share/uma/labs
	printf 'prefix=%s\nlibdir=$${prefix}/lib\nincludedir=$${prefix}/include\n\nName: uma\nDescription: One address space for all devices\nVersion: %s\nLibs: -L$${libdir} -luma\nLibs.private: %s\nCflags: -I$${includedir}\n' \
	  '$(PREFIX)' '$(VERSION)' '$(LIBS)' > $(DESTDIR)$(PREFIX)/lib/pkgconfig/uma.pc

SOURCES = $(shell git ls-files '*.c' '*.h')
tidy:
	clang-format --dry-run -Werror $(SOURCES)
	clang-tidy --quiet $(LIBRARY_C) $(COMMAND_C) -- -std=gnu11 -D_GNU_SOURCE -I. -Iinclude -DUMA_VERSION='"$(VERSION)"' $(PKG)
	cppcheck --quiet --error-exitcode=1 --enable=warning,portability --suppress=ctuuninitvar --suppress=invalidPointerCast -I. -Iinclude $(LIBRARY_C) $(COMMAND_C)

format:
	clang-format -i $(SOURCES)

clean:
	rm -rf build

-include $(shell find $B/obj $B/fuzz/obj -name '*.d' 2>/dev/null)
