import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;
import org.slf4j.LoggerFactory;
import software.amazon.awssdk.services.kinesis.model.ChildShard;
import software.amazon.awssdk.services.kinesis.model.HashKeyRange;
import software.amazon.awssdk.services.kinesis.model.ResourceNotFoundException;
import software.amazon.awssdk.services.kinesis.model.SequenceNumberRange;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.ShardFilter;
import software.amazon.kinesis.common.HashKeyRangeForLease;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.StreamConfig;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.leases.HierarchicalShardSyncer;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.LeaseCleanupManager;
import software.amazon.kinesis.leases.LeaseCoordinator;
import software.amazon.kinesis.leases.LeaseRefresher;
import software.amazon.kinesis.leases.ShardDetector;
import software.amazon.kinesis.leases.ShardInfo;
import software.amazon.kinesis.leases.ShardSyncTaskManager;
import software.amazon.kinesis.leases.exceptions.LeasePendingDeletion;
import software.amazon.kinesis.metrics.MetricsFactory;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.metrics.NullMetricsScope;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;

/**
 * What KCL does with the leases of a stream, without stream and table: one question a line in, all answers when the input has ended.
 *
 * "sync" runs HierarchicalShardSyncer on a listing, "audit" PeriodicShardSyncManager on one scan after the other, "cleanup"
 * LeaseCleanupManager on a finished lease. A key is a number, "M" the last hash key.
 *
 * java -cp 'JARS/*' Shards.java
 */
public class Shards {
    private static final BigInteger MAX = BigInteger.ONE.shiftLeft(128).subtract(BigInteger.ONE);
    private static final StreamIdentifier STREAM = StreamIdentifier.singleStreamInstance("stream");
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        ((Logger) LoggerFactory.getLogger("ROOT")).setLevel(Level.OFF);
        forgetStreamIds();
        ExecutorService pool = Executors.newFixedThreadPool(400); // a hole in a listing is looked at for three seconds
        List<Future<ObjectNode>> answers = new ArrayList<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode question = JSON.readTree(line);
            answers.add(pool.submit(() -> answer(question)));
        }
        pool.shutdown();
        for (Future<ObjectNode> answer : answers) {
            try {
                System.out.println(JSON.writeValueAsString(answer.get()));
            } catch (ExecutionException e) {
                e.printStackTrace();
                System.exit(1);
            }
        }
    }

    /** As the daemon has it; 2.x knows of no such thing. */
    private static void forgetStreamIds() throws ReflectiveOperationException {
        String room = "software.amazon.kinesis.coordinator.streamInfo.";
        try {
            Class<?> state = Class.forName(room + "StreamIdOnboardingState");
            Class<?> manager = Class.forName(room + "StreamIdCacheManager");
            Method initialize = Class.forName(room + "StreamIdCache").getDeclaredMethod("initialize", manager, state);
            initialize.setAccessible(true);
            initialize.invoke(null, null, state.getField("NOT_ONBOARDED").get(null));
        } catch (ClassNotFoundException e) {
            return;
        }
    }

    private static ObjectNode answer(JsonNode question) throws Exception {
        switch (question.get("kind").asText()) {
            case "sync": return sync(question);
            case "audit": return audit(question);
            case "cleanup": return cleanup(question);
            default: throw new IllegalArgumentException(question.toString());
        }
    }

    private static ObjectNode sync(JsonNode question) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode made = JSON.createArrayNode();
        List<Lease> leases = new ArrayList<>();
        question.get("leases").forEach(id -> leases.add(lease(id.asText(), ExtendedSequenceNumber.TRIM_HORIZON)));
        LeaseRefresher refresher = proxy(LeaseRefresher.class, (name, args) -> {
            switch (name) {
                case "listLeases": return leases;
                case "getLeaseTableIdentifier": return "table";
                case "createLeaseIfNotExists":
                    made.add(told((Lease) args[0]));
                    return true;
                default: throw new IllegalStateException(name);
            }
        });
        ShardDetector detector = proxy(ShardDetector.class, (name, args) -> {
            if (name.equals("streamIdentifier")) {
                return STREAM;
            }
            boolean filtered = name.equals("listShardsWithFilter");
            answer.put("listed", filtered ? ((ShardFilter) args[0]).typeAsString() : "ALL");
            List<Shard> shards = new ArrayList<>();
            question.get("shards").forEach(shard -> shards.add(shard(shard)));
            return shards;
        });
        try {
            new HierarchicalShardSyncer().checkAndCreateLeaseForNewShards(detector, refresher, position(question.get("initial").asText()),
                    new NullMetricsScope(), question.get("ignore").asBoolean(), leases.isEmpty());
            answer.set("made", made);
        } catch (Exception e) {
            String text = e.getMessage();
            answer.put("refused", text.contains("Hash range of shards") ? "hole" : text.contains("open child shards") ? "open child"
                    : text.startsWith("Duplicate key") ? "twice" : text.startsWith("No shards found") ? "hole"
                    : text.startsWith("StartingHashKey") ? "one key" : e.toString());
        }
        return answer;
    }

    /** What a lease is made with that is not the same for all. */
    private static String told(Lease lease) {
        List<String> parents = new ArrayList<>(lease.parentShardIds());
        parents.sort(null);
        StringBuilder text = new StringBuilder(number(lease.leaseKey()) + " " + lease.checkpoint().sequenceNumber());
        parents.forEach(parent -> text.append(" ").append(number(parent)));
        if (lease.leaseCounter() != 0 || lease.ownerSwitchesSinceCheckpoint() != 0 || lease.leaseOwner() != null
                || lease.hashKeyRangeForLease() == null || lease.checkpoint().subSequenceNumber() != 0) {
            throw new IllegalStateException(lease.toString());
        }
        return text.toString();
    }

    /** Of each scan whether it asks for a sync; and the leases whose hash range was learnt from the stream. */
    private static ObjectNode audit(JsonNode question) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode filled = answer.putArray("filled");
        ArrayNode syncs = answer.putArray("syncs");
        ShardDetector detector = proxy(ShardDetector.class, (name, args) -> {
            List<Shard> shards = new ArrayList<>();
            question.get("shards").forEach(shard -> shards.add(shard(shard)));
            return shards;
        });
        LeaseRefresher refresher = proxy(LeaseRefresher.class, (name, args) -> {
            if (!name.equals("updateLeaseWithMetaInfo")) {
                throw new IllegalStateException(name);
            }
            filled.add(Integer.parseInt(number(((Lease) args[0]).leaseKey())));
            return null;
        });
        Object manager = auditor(refresher, detector);
        Method check = manager.getClass().getDeclaredMethod("checkForShardSync", StreamIdentifier.class, List.class);
        check.setAccessible(true);
        for (JsonNode look : question.get("looks")) {
            List<Lease> leases = new ArrayList<>();
            for (JsonNode row : look) {
                boolean finished = row.get(3).asBoolean();
                Lease lease = lease(row.get(0).asText(), finished ? ExtendedSequenceNumber.SHARD_END : new ExtendedSequenceNumber("5"));
                if (!row.get(1).isNull()) {
                    lease.hashKeyRange(HashKeyRangeForLease.deserialize(key(row.get(1)), key(row.get(2))));
                }
                leases.add(lease);
            }
            Object response;
            try {
                response = check.invoke(manager, STREAM, leases);
            } catch (InvocationTargetException e) {
                syncs.add(e.getCause().getClass().getSimpleName()); // it looks again at the next audit
                continue;
            }
            Method should = response.getClass().getDeclaredMethod("shouldDoShardSync");
            should.setAccessible(true);
            syncs.add((boolean) should.invoke(response));
        }
        return answer;
    }

    private static Object auditor(LeaseRefresher refresher, ShardDetector detector) throws Exception {
        StreamConfig config = new StreamConfig(STREAM, position("LATEST"));
        ShardSyncTaskManager tasks = new ShardSyncTaskManager(detector, refresher, position("LATEST"), true, false, 0, null,
                new HierarchicalShardSyncer(), new NullMetricsFactory());
        Map<StreamIdentifier, StreamConfig> streams = new HashMap<>(Map.of(STREAM, config));
        Function<StreamConfig, ShardSyncTaskManager> provider = any -> tasks;
        for (Constructor<?> constructor : Class.forName("software.amazon.kinesis.coordinator.PeriodicShardSyncManager").getDeclaredConstructors()) {
            List<Class<?>> types = List.of(constructor.getParameterTypes());
            if (!types.contains(ScheduledExecutorService.class)) {
                continue;
            }
            Iterator<Map<?, ?>> maps = List.<Map<?, ?>>of(streams, new HashMap<>()).iterator();
            Object[] values = types.stream().map(type -> type == String.class ? "worker" : type == LeaseRefresher.class ? refresher
                    : type == Map.class ? maps.next() : type == Function.class ? provider : type == boolean.class ? (Object) false
                    : type == MetricsFactory.class ? new NullMetricsFactory() : type == long.class ? (Object) 120_000L
                    : type == int.class ? (Object) 3 : type == AtomicBoolean.class ? new AtomicBoolean(true)
                    : type == ScheduledExecutorService.class ? null : proxy(type, (name, args) -> null)).toArray();
            constructor.setAccessible(true);
            return constructor.newInstance(values);
        }
        throw new IllegalStateException("no constructor");
    }

    /** Whether the lease is deleted, which children are noted in it, whether it stays in the queue. */
    private static ObjectNode cleanup(JsonNode question) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        answer.put("deleted", false);
        ArrayNode noted = answer.putArray("noted");
        Map<String, Lease> rows = new HashMap<>();
        question.get("rows").forEach(row -> {
            Lease lease = lease(row.get(0).asText(), new ExtendedSequenceNumber(row.get(1).asText()));
            rows.put(lease.leaseKey(), lease);
        });
        Lease own = lease("50", ExtendedSequenceNumber.SHARD_END);
        own.parentShardIds(names(question.get("parents")));
        if (question.get("children").size() > 0) {
            own.childShardIds(names(question.get("children")));
        }
        if (question.get("row").asBoolean()) {
            rows.put(own.leaseKey(), own);
        }
        LeaseRefresher refresher = proxy(LeaseRefresher.class, (name, args) -> {
            switch (name) {
                case "getLease": return rows.containsKey(args[0]) ? rows.get(args[0]).copy() : null;
                case "deleteLease":
                    if (rows.remove(((Lease) args[0]).leaseKey()) != null) { // what is garbage, too, is deleted twice
                        answer.put("deleted", true);
                    }
                    return null;
                case "updateLeaseWithMetaInfo":
                    ((Lease) args[0]).childShardIds().stream().map(Shards::number).map(Integer::parseInt).sorted().forEach(noted::add);
                    return null;
                default: throw new IllegalStateException(name);
            }
        });
        ShardDetector detector = proxy(ShardDetector.class, (name, args) -> {
            if (question.get("service").isNull()) {
                throw ResourceNotFoundException.builder().message("no such shard").build();
            }
            List<ChildShard> children = new ArrayList<>();
            names(question.get("service")).forEach(child -> children.add(ChildShard.builder().shardId(child).build()));
            return children;
        });
        LeaseCoordinator coordinator = proxy(LeaseCoordinator.class, (name, args) -> refresher);
        LeaseCleanupManager manager = new LeaseCleanupManager(coordinator, new NullMetricsFactory(),
                proxy(ScheduledExecutorService.class, (name, args) -> null), true, 60_000L, 300_000L, 1_800_000L);
        LeasePendingDeletion pending = new LeasePendingDeletion(STREAM, own,
                new ShardInfo(own.leaseKey(), "token", own.parentShardIds(), own.checkpoint()), detector);
        boolean settled = false;
        try {
            settled = manager.cleanupLease(pending, true, question.get("garbage").asBoolean()).leaseCleanedUp();
        } catch (ResourceNotFoundException e) {
            answer.put("failed", e.toString()); // the queue keeps what fails
        }
        answer.put("kept", !settled);
        return answer;
    }

    private static Lease lease(String id, ExtendedSequenceNumber checkpoint) {
        Lease lease = new Lease();
        lease.leaseKey(name(id));
        lease.checkpoint(checkpoint);
        lease.ownerSwitchesSinceCheckpoint(0L);
        lease.parentShardIds(List.of());
        return lease;
    }

    /** Number, parents, first and last hash key, starting sequence number, whether it is open. */
    private static Shard shard(JsonNode shard) {
        List<String> parents = names(shard.get(1));
        return Shard.builder().shardId(name(shard.get(0).asText()))
                .parentShardId(parents.size() > 0 ? parents.get(0) : null)
                .adjacentParentShardId(parents.size() > 1 ? parents.get(1) : null)
                .hashKeyRange(HashKeyRange.builder().startingHashKey(key(shard.get(2))).endingHashKey(key(shard.get(3))).build())
                .sequenceNumberRange(SequenceNumberRange.builder().startingSequenceNumber(shard.get(4).asText())
                        .endingSequenceNumber(shard.get(5).asBoolean() ? null : "99999").build())
                .build();
    }

    private static String key(JsonNode key) {
        return key.asText().equals("M") ? MAX.toString() : key.asText();
    }

    private static InitialPositionInStreamExtended position(String word) {
        return word.equals("AT_TIMESTAMP") ? InitialPositionInStreamExtended.newInitialPositionAtTimestamp(new Date(1_700_000_000_000L))
                : InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.valueOf(word));
    }

    private static List<String> names(JsonNode numbers) {
        List<String> names = new ArrayList<>();
        numbers.forEach(number -> names.add(name(number.asText())));
        return names;
    }

    private static String name(String number) {
        return String.format("shardId-%012d", Long.parseLong(number));
    }

    private static String number(String name) {
        return String.valueOf(Long.parseLong(name.substring(8)));
    }

    private interface Answer {
        Object to(String name, Object[] args);
    }

    @SuppressWarnings("unchecked")
    private static <T> T proxy(Class<T> type, Answer answer) {
        return (T) Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (self, method, args) -> answer.to(method.getName(), args));
    }
}
