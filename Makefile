# libuma. `make help` lists the targets.
# Everything is built into build/ (build/san-NAME/ with SAN=NAME); nothing is written elsewhere but by `make install`.

CC      ?= gcc
PREFIX  ?= /usr/local
VERSION := 0.1.0
SAN     ?=
B       := build$(if $(SAN),/san-$(SAN))

PACKAGES := numa liburing jansson libconfig
HEADERS  := libfabric # loaded when it is used (fabric/ofi_load.h)
# What each goal needs: the name that pkg-config knows, a program after a !, or a header, = its Debian package.
NEED      := !pkg-config=pkg-config !m4=m4 numa=libnuma-dev liburing=liburing-dev jansson=libjansson-dev libconfig=libconfig-dev libfabric=libfabric-dev \
             uthash.h=uthash-dev
NEED_TEST := $(NEED) criterion=libcriterion-dev
NEED_DEMO := $(NEED) !gnuplot=gnuplot-nox

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wno-unused-parameter
ALL     := -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=default -pthread -I. -Iinclude -DUMA_VERSION='"$(VERSION)"' $(WARN) -MMD -MP
PKG      = $(shell pkg-config --cflags $(PACKAGES) $(HEADERS) 2>/dev/null)
LIBS     = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -pthread -lm
ifneq ($(SAN),)
ALL     += -fsanitize=$(SAN) -fno-omit-frame-pointer -DUMA_SAN $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=all)
LIBS    += -fsanitize=$(SAN)
endif

# main.c, cmd_*.c, litmus_*.c and trace_*.c are the command; bench/*.c are its `bench`; everything else in uma/, coherence/, fabric/ is the library.
COMMAND_C := $(wildcard uma/main.c uma/cmd_*.c uma/litmus_*.c uma/trace_*.c) $(filter-out bench/peer_%.c,$(wildcard bench/*.c))
LIBRARY_C := $(filter-out $(COMMAND_C),$(wildcard uma/*.c coherence/*.c fabric/*.c))
EXAMPLES  := $(patsubst examples/%.c,%,$(wildcard examples/*.c))
# Programs with PARMACS macros
PARMACS      := $(patsubst %.c.in,%,$(wildcard examples/parmacs/*.c.in))
TEST_PARMACS := $(patsubst %.c.in,%,$(wildcard tests/*.c.in))
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
TEST_O    := $(patsubst %.c,$B/obj/%.o,$(wildcard tests/*.c))
# Open MPI and OpenSHMEM as peers of the benchmarks, where their compilers are installed
PEERS     := $(if $(shell command -v mpicc),$B/peers/mpi) $(if $(shell command -v oshcc),$B/peers/oshmem)

.PHONY: all demo test bench install tidy format clean help have-needs
all: $B/uma $B/libuma.so $B/libuma.a $B/libparmacs.a $(EXAMPLES:%=$B/examples/%) $(PARMACS:%=$B/%) $(PEERS)

help:
	@echo "make            build everything into build/"
	@echo "make demo       install what is missing, build, measure the communication wall, write build/report/index.html"
	@echo "make test       install what is missing, build, run all tests   (SAN=address|undefined|thread; LONG=1 for many more runs)"
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

$B/peers/mpi: bench/peer_mpi.c
	@mkdir -p $(@D)
	mpicc -std=gnu11 -O2 -o $@ $<

$B/peers/oshmem: bench/peer_oshmem.c
	@mkdir -p $(@D)
	oshcc -std=gnu11 -O2 -o $@ $<

$B/tests/all: $(TEST_O) $(TEST_MAIN) $(filter-out $B/obj/uma/main.o,$(COMMAND_O)) $B/libuma.a
	@mkdir -p $(@D)
	$(CC) -rdynamic $^ $(LIBS) $(TEST_LIBS) -o $@

# Lists what is missing of the pairs in $(1); installs it where $(2) is "install", else says how to.
define provide
@missing=; for pair in $(1); do name=$${pair%%=*}; package=$${pair#*=}; \
  case $$name in \
  !*) command -v $${name#!} >/dev/null || missing="$$missing $$package" ;; \
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

demo:
	$(call provide,$(NEED_DEMO),install)
	@$(MAKE) --no-print-directory -j$$(nproc) all
	$B/uma bench --quick --no-peers $(if $(TRACE),--trace $(TRACE)) --report $B/report
	@echo; echo "The report: $B/report/index.html"

# The tests of all that touches windows, once more in mode page; then all tests.
PAGE_SUITES := @(collective|copy|heap*|kvpool|memory|message|one_connection|reduce|space|sync)/*
test:
	$(call provide,$(NEED_TEST),install)
	@$(MAKE) --no-print-directory -j$$(nproc) all $B/tests/all $(TEST_PARMACS:%=$B/%)
	$(if $(TESTFLAGS)$(filter thread,$(SAN)),,env UMA_BUILD=$B UMA_COHERENCE=page $B/tests/all --timeout 300 --filter '$(PAGE_SUITES)')
	$(TEST_WRAPPER) env UMA_BUILD=$B $(if $(LONG),UMA_TEST_LONG=1) $B/tests/all --timeout $(if $(LONG),3600,300) $(TESTFLAGS)

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

-include $(shell find $B/obj -name '*.d' 2>/dev/null)
