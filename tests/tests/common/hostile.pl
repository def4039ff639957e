# What a worker may do to all processes of its own user: for tests/tests/hostile.rs. Ends by SIGKILL.
#
# storm: signals that stop, continue and end, to all of them. `pause` is how long a stop lasts now and then, in seconds.
# probe BASE FOUND: tries to get hold of each process as soon as it has a number. BASE is where erluv-main's program
# begins in main's memory. FOUND is where one line is written for what happened: `breach WHAT` where something of main
# could be seen, `window` where a process of this user kept its memory closed, `traced` where it let itself be traced,
# as a child of its own does at the start.
use strict;
use warnings;
my ($what, @rest) = @ARGV;
$SIG{$_} = 'IGNORE' for qw(TERM QUIT SEGV ABRT HUP);

# Numbers of calls on amd64.
my ($PTRACE, $PRIORITY, $SCHEDULER, $AFFINITY, $PRLIMIT, $READV) = (101, 141, 144, 203, 302, 310);
my ($ATTACH, $DETACH, $SEIZE, $INTERRUPT) = (16, 17, 0x4206, 0x4207);

sub storm {
    my ($pause) = @_;
    for (my $turn = 1; ; $turn++) {
        for my $signal (qw(QUIT TERM SEGV ABRT)) {
            kill 'STOP', -1;
            select undef, undef, undef, $pause if $pause && $turn % 50 == 0;
            kill 'CONT', -1;
            kill $signal, -1;
            # A stopped one takes the others only when it goes on.
            kill 'CONT', -1;
        }
        select undef, undef, undef, 0.002;
    }
}

my $out;

sub say_it {
    syswrite $out, "$_[0]\n";
}

sub is_mine {
    my ($pid) = @_;
    open my $status, '<', "/proc/$pid/status" or return 0;
    return scalar grep { /^Uid:\t$<\t$<\t$<\t/ } <$status>;
}

# Whether a trace has stopped it.
sub is_held {
    my ($pid) = @_;
    open my $stat, '<', "/proc/$pid/stat" or return 0;
    return <$stat> =~ /\) t /;
}

# Whether it can be stopped by a trace, and what it runs then.
sub trace {
    my ($pid, $how) = @_;
    return if syscall($PTRACE, $how, $pid, 0, 0) != 0;
    syscall($PTRACE, $INTERRUPT, $pid, 0, 0) if $how == $SEIZE;
    # perl does not say whether it has ended or stopped.
    while (waitpid($pid, 0x40000000) == $pid && is_held($pid)) {
        my $runs = readlink "/proc/$pid/exe";
        if (!defined $runs) { say_it('breach traced while its memory was closed') }
        elsif ($runs =~ /erluv/) { say_it("breach traced $runs") }
        else { say_it('traced') }
        last if syscall($PTRACE, $DETACH, $pid, 0, 0) == 0;
    }
}

sub look {
    my ($pid, $base, $turn) = @_;
    my ($elf, $head) = ("\x7fELF", '');
    if (open my $memory, '+<', "/proc/$pid/mem") {
        say_it('breach mem') if sysseek($memory, $base, 0) && sysread($memory, $head, 4) && $head eq $elf;
    }
    elsif ($!{EACCES} && is_mine($pid)) {
        say_it('window');
    }
    my $room = "\0" x 4;
    my $own = pack 'QQ', unpack('Q', pack 'P', $room), 4;
    my $its = pack 'QQ', $base, 4;
    say_it('breach process_vm_readv') if syscall($READV, $pid, $own, 1, $its, 1, 0) == 4 && $room eq $elf;
    trace($pid, $turn % 2 ? $SEIZE : $ATTACH) if $turn % 4 < 2;
    # All of it is allowed to its user, and must do nothing to main.
    my ($limit, $cpu, $none) = (pack('QQ', 16, 16), pack('Q', 1), pack('l', 0));
    syscall($PRLIMIT, $pid, $_, $limit, 0) for 7, 12;
    syscall($PRIORITY, 0, $pid, 19);
    syscall($AFFINITY, $pid, 8, $cpu);
    syscall($SCHEDULER, $pid, 5, $none);
}

sub probe {
    my ($base, $found) = @_;
    open $out, '>>', $found or die "$found: $!";
    # That it can trace at all: a child of its own.
    my $child = fork // die;
    if (!$child) { sleep 1 while 1 }
    trace($child, $SEIZE);
    kill 'KILL', $child;
    waitpid $child, 0;
    my $before = 0;
    for (my $turn = 0; ; $turn++) {
        open my $load, '<', '/proc/loadavg' or die;
        my $last = 0 + (split ' ', <$load>)[4];
        # It may have been before its change of user when it was last looked at.
        my $times = $last == $before ? 1 : 3;
        $before = $last;
        for my $pid (grep { $_ > 1 && $_ != $$ } ($last, $last - 1)) {
            look($pid, $base, $turn + $_) for 1 .. $times;
        }
    }
}

$what eq 'storm' ? storm(@rest) : probe(@rest);
