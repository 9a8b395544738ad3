/*
 * The gate's protocol for guarded writes of one resource, with a shared store: two gates, the store, a backend that
 * cannot fence, a reader, a writer who goes around the gates, and faults. README.md beside this file says what is
 * modelled, what is left out and why that is sound, and what each switch shows. `node scripts/model.mjs` checks it.
 *
 * Contents of the backend are numbers: every write makes the next one. A tag is the number of the content that it
 * identifies, since synthetic tags depend on the content alone.
 *
 * Each step of the store is one d_step, as it is one script on the server. What a gate does by itself, where nobody
 * else can see it, is joined to the step before or after. Between any two steps the others may go on.
 */

/* How much is tried. What is not counted here (reads, refusals, lost requests and answers) may happen every time. */
#ifndef WRITES
#define WRITES 2 /* guarded writes of each gate, at most 2 */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef PAUSES
#define PAUSES 1
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif
#ifndef AROUND
#define AROUND 1 /* writes around the gates */
#endif

#define GATES 2
#define REQUESTS 4
#define NOBODY 255
#define NOTHING 255

/* --------------------------------------------------------------------------------------------------------- switches */

#ifdef NO_LEASE
#define isFree true
#else
#define isFree (lease.owner == NOBODY)
#endif

/* Whether a settle counts: its token has to be that of the lease that is there now. */
#ifdef NO_TOKEN
#define isOwner(w) true
#else
#define isOwner(w) (lease.owner == w)
#endif

/* Whether the store still has the epoch that the read under way began with. */
#ifdef NO_EPOCH
#define isSameEpoch true
#else
#define isSameEpoch (!hasEpochMoved)
#endif

/* Whether epochs from before a restart of the store are told from those after it, which begin again. */
#ifdef OLD_EPOCHS
#define isSameIncarnation true
#else
#define isSameIncarnation (!hasIncarnationChanged)
#endif

/* Whether a store that rests after a restart tells readers that a lease is held. */
#ifdef RECORD_IN_REST
#define isRestHeeded false
#else
#define isRestHeeded isResting
#endif

/* Whether the gate looks at its clock before it sends. */
#ifdef NO_CHECK_LEASE
#define hasEnoughTime(w) true
#else
#define hasEnoughTime(w) (!isLeaseOver[w])
#endif

/* A check of reachability looks for the assertion that fails at the place that has to be reached. */
#define reached(what) assert(!(what))

/* ------------------------------------------------------------------------------------------------------------ state */

/* Where the request of a guarded write is. */
mtype:Place = {
  idle,       /* not sent yet, or over */
  cleared,    /* checkLease has passed, send comes next */
  inFlight,   /* sent: may take effect at any time, or never */
  abandoned,  /* the same, but its gate has given up on it, or is dead */
  tookEffect, /* took effect, and the answer is on its way */
  refused     /* changed nothing, and a 4xx is on its way; if that never comes, then it was the request that got lost */
}

/* How a write ended, as far as the store needs to know (rule W9). */
mtype:Outcome = { none, notSent, asItWas, changed, unknown }

typedef Lease {
  byte owner = NOBODY; /* the owner token: the number of the write. Like a random one it is never used twice */
  bool isExpired       /* its time is over, and no step of the store has noticed yet */
}

/*
 * The store. Of epoch and incarnation nothing matters but whether they are those that the read under way began with, so
 * this is all that is kept of them: numbers that grow would make many states of one.
 */
Lease lease;
byte knowledge = NOTHING;
bool isReading = false;
bool hasEpochMoved = false;
bool hasIncarnationChanged = false;
bool isResting = false;

/* The gates, by write. */
bool isWorking[REQUESTS];   /* between acquire and settle, and alive: such a gate renews its lease */
bool isLeaseOver[REQUESTS]; /* by the gate's own clock: too little is left of the lease to send anything */

/* The backend and the connections to it; requests by write. */
byte content = 0;
mtype:Place place[REQUESTS] = idle;
byte tag[REQUESTS]; /* in If-Match */

/* Faults that are left. */
byte kills = KILLS;
byte pauses = PAUSES;
byte restarts = RESTARTS;

/* Gate 0 is the one that gets the first lease. The gates are alike, so nothing is lost, but half of the states. */
bool hasBegun = false;

/* For the properties alone: the content that the last guarded write that took effect has made. */
byte lastGuarded = 0;

#ifdef REACH_BOTH_SUCCEED
bool hasSucceeded[GATES];
#endif
#ifdef REACH_AFTER_QUARANTINE
bool wasLate = false;
#endif
#ifdef RESTORED
byte saved = NOTHING;
#endif

/* ------------------------------------------------------------------------------------------------------- properties */

/*
 * No lost update. A guarded write takes effect only if its tag does not identify a content older than the one that the
 * last guarded write made: else that one is overwritten by somebody who has not seen it. Contents are numbered in the
 * order in which writes take effect, so "older" is "less". What was written around the gates since then does not count.
 */
inline noLostUpdate(w) {
  assert(tag[w] >= lastGuarded)
}

/*
 * No stale knowledge. What the store offers while nothing is leased, in quarantine or resting is the content that the
 * last guarded write made, or one that came after it; so without writes around the gates it is the backend's content.
 * The switches are checked without this, to show that each mechanism is worth an update, and not only this property.
 */
inline noStaleKnowledge() {
#ifdef LOST_UPDATES_ONLY
  skip
#else
  assert(knowledge == NOTHING || knowledge >= lastGuarded)
#endif
}

/* ----------------------------------------------------------------------------------------------- steps of the store */

/* What readers are told. A quarantine is a lease, and a store that rests does not know what is leased. */
#define isHeld ((lease.owner != NOBODY && !lease.isExpired) || isRestHeeded)

inline moveEpoch() {
  hasEpochMoved = isReading;
  knowledge = NOTHING
}

inline freeLease() {
  lease.owner = NOBODY;
  lease.isExpired = false
}

/* Every step of the store begins with this: a lease that has ended without being settled leaves doubt. */
inline noticeExpiry() {
  if
  :: lease.isExpired ->
#ifndef NO_DOUBT
    moveEpoch();
#endif
    freeLease()
  :: else
  fi
}

/* The same in the steps of readers. */
inline noticeExpiryAsReader() {
#ifndef LAZY_DOUBT
  noticeExpiry()
#else
  skip
#endif
}

/* Ends the lease of `w` and records the outcome. `observation` was read under the lease. */
inline endLease(w, outcome, observation) {
  noticeExpiry();
  if
  :: isOwner(w) ->
    freeLease();
    if
#ifndef NO_NEW_EPOCH
    :: outcome == changed || outcome == unknown -> moveEpoch()
#endif
    :: else
    fi;
    if
    :: observation != NOTHING -> knowledge = observation
    :: else
    fi;
#ifndef NO_QUARANTINE
    if
    /* A lease that nobody renews and nobody will settle: when its time is over, the epoch moves again. */
    :: outcome == unknown -> lease.owner = w
    :: else
    fi
#endif
  :: else ->
#ifdef REACH_SETTLE_REFUSED
    reached(outcome == changed && lease.owner != NOBODY)
#else
    skip
#endif
  fi
}

/* ------------------------------------------------------------------------------------------------------------ gates */

/* The gate is done with this write: it has settled, or it is dead. */
inline leave(w) {
  isWorking[w] = false;
  isLeaseOver[w] = false;
  if
  :: place[w] == inFlight -> place[w] = abandoned
  :: else -> place[w] = idle; tag[w] = 0
  fi
}

/* kill -9 */
inline die(w) {
  kills > 0 ->
  kills--;
  known = NOTHING;
  seen = NOTHING;
  leave(w)
}

/*
 * Guarded writes, one after the other. After `kill -9` a new process carries out the next one: no gate keeps anything
 * from one write to the next.
 *
 * A gate that is paused takes no step here, and `Time` ends its lease meanwhile. One that is cut off from the store
 * goes on until it settles. When a gate is killed matters only to what it has sent: before `send` all moments are like
 * the one after `acquire`, and from then on like the one before it settles.
 */
proctype Gate(byte gate) {
  byte count = 0;
  byte w;
  byte known = NOTHING; /* the version that decides */
  byte seen = NOTHING;  /* what was read under the lease, for the settle */
  mtype:Outcome outcome = none;

nextWrite:
  if
  :: count == WRITES -> goto done
  :: d_step {
      count < WRITES ->
      w = gate * WRITES + count;
      count++;
      tag[w] = content /* The client reads, and takes any time to write: until `acquire`. */
    }
  fi;

acquire:
  d_step {
    (isFree || lease.isExpired) && !isResting && (gate == 0 || hasBegun) ->
    hasBegun = true;
    noticeExpiry();
    noStaleKnowledge();
    lease.owner = w;
    isWorking[w] = true;
    known = knowledge;
#ifdef REACH_KNOWLEDGE_DECIDES
    reached(known == tag[w] && lastGuarded > 0 && lastGuarded == content);
#endif
#ifdef REACH_AFTER_RESTART
    reached(restarts < RESTARTS && lastGuarded > 0);
#endif
#ifdef REACH_AFTER_QUARANTINE
    reached(wasLate)
#endif
  };

probe:
  if
  :: d_step { known == NOTHING -> known = content; seen = content }
  :: known != NOTHING /* Knowledge decides. */
  :: d_step { die(w) }; goto nextWrite
  fi;

decide:
  if
  :: d_step { known == tag[w] && hasEnoughTime(w) -> known = NOTHING; place[w] = cleared } /* checkLease */
  :: d_step { known == tag[w] -> known = NOTHING; outcome = notSent }; /* Too little is left of the lease. */
    goto settle
  :: d_step {
      known != tag[w] -> /* 412 */
#ifdef REACH_412
      reached(true);
#endif
      known = NOTHING;
      outcome = notSent
    };
    goto settle
  fi;

send:
  place[w] = inFlight;

answer:
  if
  :: d_step { place[w] == tookEffect -> outcome = changed; seen = NOTHING }
  :: place[w] == refused -> outcome = asItWas; goto settle
  :: d_step { outcome = unknown; seen = NOTHING }; goto settle /* a timeout, or a broken connection, at any time */
  :: d_step { die(w) }; goto nextWrite
  fi;

refresh:
  if
  :: seen = content
  :: skip
  fi;

settle:
  if /* Spin jumps to no d_step: hence the choice of one. */
  :: d_step {
      endLease(w, outcome, seen);
#ifdef REACH_BOTH_SUCCEED
      hasSucceeded[gate] = hasSucceeded[gate] || outcome == changed;
      reached(hasSucceeded[0] && hasSucceeded[1]);
#endif
      outcome = none;
      seen = NOTHING;
      leave(w)
    }
  fi;
  goto nextWrite;

done:
  skip
}

/* ---------------------------------------------------------------------------------------------- backend and readers */

inline takeEffect(w) {
  noLostUpdate(w);
  content++;
  lastGuarded = content;
  tag[w] = 0
}

/* What becomes of one request. The backend looks at no condition: it cannot fence. */
proctype Request(byte w) {
end:
  do
  :: d_step { place[w] == inFlight -> takeEffect(w); place[w] = tookEffect }
  :: d_step { place[w] == inFlight -> place[w] = refused }
  :: d_step {
      place[w] == abandoned ->
      takeEffect(w);
#ifdef REACH_AFTER_QUARANTINE
      wasLate = true;
#endif
      place[w] = idle
    }
  :: d_step { place[w] == abandoned -> tag[w] = 0; place[w] = idle }
  od
}

/* Reads through a gate, slow ones too, as many as there may be. */
proctype Reader() {
  byte seen = NOTHING;

begin:
  if
  :: d_step {
      /* What is read while a lease is held is never recorded: nobody but its client sees it, so it is left out. */
      !isHeld ->
      noticeExpiryAsReader();
      noStaleKnowledge();
      isReading = true
    }
  :: goto done
  fi;

read:
  seen = content;

observe:
  d_step {
    noticeExpiryAsReader();
    if
    :: !isHeld && isSameEpoch && isSameIncarnation -> knowledge = seen
    :: else
    fi;
    seen = NOTHING;
    isReading = false;
    hasEpochMoved = false;
    hasIncarnationChanged = false
  };
  goto begin;

done:
  skip
}

/* Writes around the gates. */
proctype Around() {
  byte count = 0;

end:
  do
  :: d_step { count < AROUND -> content++; count++ }
  od
}

/* ------------------------------------------------------------------------------------------------ time and restarts */

/* Whether the request of `w` may take effect later than now. */
#define isPending(w) (place[w] == cleared || place[w] == inFlight || place[w] == abandoned)

/*
 * Whether the time of the lease of `w` can be over. Time is only this order: a lease that nobody renews lasts longer
 * than what was sent under it can take effect, because `checkLease` has asked for that much; and so does a quarantine.
 * The lease of a gate that lives and reaches the store is renewed: only a pause, or being cut off, ends it.
 */
#define isTimeOver(w) (!isPending(w) && (!isWorking[w] || pauses > 0))

#ifdef PAUSE_IN_FLIGHT
#define canEnd(w) (isTimeOver(w) || (isWorking[w] && pauses > 0))
#else
#ifdef SHORT_LEASE
#define canEnd(w) (isTimeOver(w) || place[w] == abandoned)
#else
#define canEnd(w) isTimeOver(w)
#endif
#endif

/* A restart of the store, after which it has nothing, or (RESTORED) believes what it had saved at some time before. */
inline restart() {
  freeLease();
#ifdef RESTORED
  knowledge = saved;
#else
  knowledge = NOTHING;
#endif
  hasIncarnationChanged = isReading;
  hasEpochMoved = false; /* The worst case: the read began with the epoch with which the store begins again. */
#ifndef NO_INCARNATION
  isResting = true
#endif
}

/* The rest lasts as long as a lease: those that were given before the restart are over by then. */
#define canRestEnd (!isPending(0) && !isPending(1) && !isPending(2) && !isPending(3))

inline endOldLeases() {
  isLeaseOver[0] = isWorking[0];
  isLeaseOver[1] = isWorking[1];
  isLeaseOver[2] = isWorking[2];
  isLeaseOver[3] = isWorking[3]
}

/* Expiry, restarts of the store, and the end of its rest. */
proctype Time() {
end:
  do
  :: d_step {
      lease.owner != NOBODY && !lease.isExpired && canEnd(lease.owner) ->
      lease.isExpired = true;
      if
      :: isWorking[lease.owner] -> pauses--; isLeaseOver[lease.owner] = true
      :: else
      fi
    }
  :: d_step { restarts > 0 -> restarts--; restart() }
  :: d_step { isResting && canRestEnd -> endOldLeases(); isResting = false }
#ifdef RESTORED
  :: saved == NOTHING && knowledge != NOTHING -> saved = knowledge
#endif
  od
}

init {
  atomic {
    run Time();
    run Request(0);
    run Request(1);
    run Request(2);
    run Request(3);
    run Gate(0);
    run Gate(1);
    run Reader();
    run Around()
  }
}
