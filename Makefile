# libuma. `make help` lists the targets.
# Everything is built into build/ (build/san-NAME/ with SAN=NAME); nothing is written elsewhere but by `make install`.

CC      ?= gcc
PREFIX  ?= /usr/local
VERSION := 0.1.0
SAN     ?=
B       := build$(if $(SAN),/san-$(SAN))

PACKAGES      := numa liburing jansson
TEST_PACKAGES := criterion
DEBIAN        := numa=libnuma-dev liburing=liburing-dev jansson=libjansson-dev criterion=libcriterion-dev
DEMO_PROGRAMS := gnuplot=gnuplot-nox

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wno-unused-parameter
ALL     := -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=default -pthread -I. -Iinclude -DUMA_VERSION='"$(VERSION)"' $(WARN) -MMD -MP
PKG      = $(shell pkg-config --cflags $(PACKAGES))
LIBS     = $(shell pkg-config --libs $(PACKAGES)) -pthread -lm
ifneq ($(SAN),)
ALL     += -fsanitize=$(SAN) -fno-omit-frame-pointer -DUMA_SAN_$(SAN) $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=all)
LIBS    += -fsanitize=$(SAN)
endif

# main.c and cmd_*.c are the command; bench/*.c are its `bench`; everything else in uma/, coherence/, fabric/ is the library.
COMMAND_C := $(wildcard uma/main.c uma/cmd_*.c) $(filter-out bench/peer_%.c,$(wildcard bench/*.c))
LIBRARY_C := $(filter-out $(COMMAND_C),$(wildcard uma/*.c coherence/*.c fabric/*.c))
EXAMPLES  := $(patsubst examples/%.c,%,$(wildcard examples/*.c))
LIBRARY_O := $(LIBRARY_C:%.c=$B/obj/%.o)
COMMAND_O := $(COMMAND_C:%.c=$B/obj/%.o)
TEST_O    := $(patsubst %.c,$B/obj/%.o,$(wildcard tests/*.c))
# Open MPI and OpenSHMEM as peers of the benchmarks, where their compilers are installed
PEERS     := $(if $(shell command -v mpicc),$B/peers/mpi) $(if $(shell command -v oshcc),$B/peers/oshmem)

.PHONY: all demo test bench install tidy clean help deps deps-test deps-demo
all: $B/uma $B/libuma.so $B/libuma.a $(EXAMPLES:%=$B/examples/%) $(PEERS)

help:
	@echo "make            build everything into build/"
	@echo "make demo       install what is missing, build, measure the communication wall, write build/report/index.html"
	@echo "make test       install what is missing, build, run all tests   (SAN=address|undefined|thread)"
	@echo "make bench      the whole benchmark suite, into build/bench/"
	@echo "make install    into PREFIX=$(PREFIX)"
	@echo "make tidy       clang-tidy, cppcheck, format"
	@echo "make clean      remove build/"

$B/obj/%.o: %.c | deps
	@mkdir -p $(@D)
	$(CC) $(ALL) $(PKG) $(CFLAGS) -c $< -o $@

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

$B/peers/mpi: bench/peer_mpi.c
	@mkdir -p $(@D)
	mpicc -std=gnu11 -O2 -o $@ $<

$B/peers/oshmem: bench/peer_oshmem.c
	@mkdir -p $(@D)
	oshcc -std=gnu11 -O2 -o $@ $<

$B/tests/all: $(TEST_O) $(filter-out $B/obj/uma/main.o,$(COMMAND_O)) $B/libuma.a | deps-test
	@mkdir -p $(@D)
	$(CC) -rdynamic $^ $(LIBS) $(shell pkg-config --libs $(TEST_PACKAGES)) -o $@

-include $(shell find $B/obj -name '*.d' 2>/dev/null)
