import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Field;
import java.lang.reflect.Proxy;
import java.math.BigInteger;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import org.slf4j.LoggerFactory;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeAction;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.ConditionalCheckFailedException;
import software.amazon.awssdk.services.dynamodb.model.ExpectedAttributeValue;
import software.amazon.awssdk.services.dynamodb.model.GetItemRequest;
import software.amazon.awssdk.services.dynamodb.model.GetItemResponse;
import software.amazon.awssdk.services.dynamodb.model.PutItemRequest;
import software.amazon.awssdk.services.dynamodb.model.PutItemResponse;
import software.amazon.awssdk.services.dynamodb.model.UpdateItemRequest;
import software.amazon.awssdk.services.dynamodb.model.UpdateItemResponse;
import software.amazon.awssdk.services.kinesis.model.ChildShard;
import software.amazon.awssdk.services.kinesis.model.HashKeyRange;
import software.amazon.kinesis.checkpoint.ShardRecordProcessorCheckpointer;
import software.amazon.kinesis.checkpoint.dynamodb.DynamoDBCheckpointer;
import software.amazon.kinesis.common.DdbTableConfig;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.exceptions.internal.BlockedOnParentShardException;
import software.amazon.kinesis.leases.HierarchicalShardSyncer;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.LeaseCleanupManager;
import software.amazon.kinesis.leases.LeaseCoordinator;
import software.amazon.kinesis.leases.LeaseStatsRecorder;
import software.amazon.kinesis.leases.ShardDetector;
import software.amazon.kinesis.leases.ShardInfo;
import software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseRefresher;
import software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseRenewer;
import software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseSerializer;
import software.amazon.kinesis.leases.dynamodb.TableCreatorCallback;
import software.amazon.kinesis.leases.exceptions.CustomerApplicationException;
import software.amazon.kinesis.lifecycle.ConsumerTask;
import software.amazon.kinesis.lifecycle.ShutdownReason;
import software.amazon.kinesis.lifecycle.ShutdownTask;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.RecordsPublisher;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;

/**
 * What KCL 3.5.1 does at the end of a shard: one question a line in, an answer a line out.
 *
 * Runs ShutdownTask for shard 50 of worker "a" with all that is behind it (checkpointer, renewer, refresher) over a table that does what
 * DynamoDB does with Expected and AttributeUpdates. It is tried again as ShardConsumer would, ATTEMPTS times.
 *
 * java -cp 'JARS/*' End.java
 */
public class End {
    private static final String OWN = name("50");
    private static final StreamIdentifier STREAM = StreamIdentifier.singleStreamInstance("stream");
    private static final DynamoDBLeaseSerializer SERIALIZER = new DynamoDBLeaseSerializer();
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final ExecutorService POOL = Executors.newSingleThreadExecutor(work -> {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        return thread;
    });
    /** Attempts, between which the lease is renewed, of a shard that cannot end. */
    private static final int ATTEMPTS = 4;

    public static void main(String[] args) throws Exception {
        ((Logger) LoggerFactory.getLogger("ROOT")).setLevel(Level.OFF);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        List<String> answers = new ArrayList<>();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            answers.add(JSON.writeValueAsString(new End(JSON.readTree(line)).end()));
        }
        answers.forEach(System.out::println);
    }

    private final JsonNode question;
    private final List<String> steps = new ArrayList<>();
    private final Table table = new Table(steps);
    private final DynamoDBLeaseRefresher refresher = table.refresher();
    private final DynamoDBLeaseRenewer renewer;
    private final LeaseCoordinator coordinator;
    private boolean toldTheEnd;

    private End(JsonNode question) {
        this.question = question;
        renewer = new DynamoDBLeaseRenewer(refresher, "a", 3_600_000L, POOL, new NullMetricsFactory(),
                new LeaseStatsRecorder(1_000L, System::currentTimeMillis), lease -> { }, 1);
        coordinator = proxy(LeaseCoordinator.class, (name, args) -> {
            switch (name) {
                case "getCurrentlyHeldLease": return renewer.getCurrentlyHeldLease((String) args[0]);
                case "leaseRefresher": return refresher;
                case "workerIdentifier": return "a";
                case "updateLease": return renewer.updateLease((Lease) args[0], (UUID) args[1], (String) args[2], (String) args[3]);
                case "dropLease":
                    renewer.dropLease((Lease) args[0]);
                    return null;
                default: throw new IllegalStateException(name);
            }
        });
    }

    private ObjectNode end() throws Exception {
        Lease own = own();
        own.lastCounterIncrementNanos(System.nanoTime());
        renewer.addLeasesToRenew(List.of(own));
        Lease held = renewer.getCurrentlyHeldLease(OWN);
        ShardInfo info = new ShardInfo(OWN, held.concurrencyToken().toString(), own.parentShardIds(), own.checkpoint());
        ShardRecordProcessorCheckpointer checkpointer =
                new ShardRecordProcessorCheckpointer(info, new DynamoDBCheckpointer(coordinator, refresher));
        checkpointer.setInitialCheckpointValue(own.checkpoint());
        JsonNode last = question.get("last");
        checkpointer.largestPermittedCheckpointValue(last.isNull() ? own.checkpoint() : new ExtendedSequenceNumber(last.asText()));
        put(question.get("rows"));
        putOwn(own);
        String then = "";
        ShutdownReason reason = ShutdownReason.SHARD_END;
        for (int attempt = 1; then.isEmpty() && attempt <= ATTEMPTS; attempt++) {
            roll(question.get("die").asBoolean());
            Exception failure = task(info, checkpointer, reason).call().getException();
            boolean keeps = renewer.getCurrentlyHeldLease(OWN) != null;
            if (failure == null) {
                then = keeps && reason == ShutdownReason.SHARD_END ? "ended" : "left";
            } else if (toldTheEnd || attempt == ATTEMPTS) {
                then = keeps ? word(failure) : "left"; // the child is told no second time
            }
            if (attempt == 1 && !toldTheEnd) {
                put(question.get("later"));
            }
            if (attempt > 1) { // rarer than attempts
                renewer.renewLeases();
            }
            if (renewer.getCurrentlyHeldLease(OWN) == null) {
                reason = ShutdownReason.LEASE_LOST; // as the Scheduler has it once the lease is not among those held
            }
        }
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode told = answer.putArray("steps");
        steps.forEach(told::add);
        answer.put("then", then);
        ArrayNode rows = answer.putArray("rows");
        Set<String> watched = new HashSet<>(Set.of(OWN));
        question.get("answer").forEach(child -> watched.add(name(child.get(0).asText())));
        table.rows.values().stream().filter(row -> watched.contains(row.get("leaseKey").s())).forEach(row -> rows.add(told(row)));
        return answer;
    }

    private static String word(Exception failure) {
        return failure instanceof BlockedOnParentShardException ? "waits"
                : failure instanceof CustomerApplicationException ? "forgot" : failure.getClass().getSimpleName();
    }

    private ConsumerTask task(ShardInfo info, ShardRecordProcessorCheckpointer checkpointer, ShutdownReason reason) {
        List<ChildShard> children = new ArrayList<>();
        for (JsonNode child : question.get("answer")) {
            BigInteger start = BigInteger.valueOf(child.get(0).asLong() * 10);
            BigInteger end = child.get(2).asBoolean() ? start : start.add(BigInteger.TEN);
            children.add(ChildShard.builder().shardId(name(child.get(0).asText())).parentShards(names(child.get(1)))
                    .hashKeyRange(HashKeyRange.builder().startingHashKey(start.toString()).endingHashKey(end.toString()).build()).build());
        }
        LeaseCleanupManager cleanup = new LeaseCleanupManager(coordinator, new NullMetricsFactory(),
                proxy(ScheduledExecutorService.class, (name, args) -> null), true, 60_000L, 300_000L, 1_800_000L);
        return new ShutdownTask(info, proxy(ShardDetector.class, (name, args) -> STREAM), processor(), checkpointer, reason,
                InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON), true, false, coordinator, 0L,
                proxy(RecordsPublisher.class, (name, args) -> null), new HierarchicalShardSyncer(), new NullMetricsFactory(), children,
                STREAM, cleanup);
    }

    /** As the daemon's: a child is told of the first end only. What it is answered to a checkpoint it does not mind. */
    private ShardRecordProcessor processor() {
        return proxy(ShardRecordProcessor.class, (name, args) -> {
            if (toldTheEnd) {
                return null;
            }
            toldTheEnd = true;
            steps.add(name);
            String does = question.get("child").asText();
            if (!name.equals("shardEnded") || does.equals("none")) {
                return null;
            }
            try {
                if (does.equals("all")) {
                    ((ShardEndedInput) args[0]).checkpointer().checkpoint();
                } else {
                    ((ShardEndedInput) args[0]).checkpointer().checkpoint(does);
                }
            } catch (Exception e) {
                steps.add("refused " + e.getClass().getSimpleName());
            }
            return null;
        });
    }

    /** The lease as it was when it was read last. */
    private Lease own() {
        Lease own = lease(OWN, question.get("at").asText(), "a");
        own.childShardIds(names(question.get("noted")));
        if (question.get("pending").asBoolean()) {
            own.pendingCheckpoint(ExtendedSequenceNumber.LATEST);
            own.pendingCheckpointState(new byte[] {1});
        }
        return own;
    }

    /** Its row, to which something may have happened since. */
    private void putOwn(Lease own) {
        Lease row = own.copy();
        switch (question.get("own").asText()) {
            case "same": break;
            case "late": row.leaseCounter(6L); break;
            case "taken":
                row.leaseCounter(6L);
                row.leaseOwner("b");
                break;
            case "wanted":
                row.leaseOwner("b");
                row.checkpointOwner("a");
                break;
            case "finished":
                row.checkpoint(ExtendedSequenceNumber.SHARD_END);
                row.pendingCheckpoint(null);
                row.pendingCheckpointState(null);
                break;
            case "gone": return;
            case "dropped": renewer.dropLease(own); break;
            default: throw new IllegalArgumentException(question.toString());
        }
        table.put(row);
    }

    /** Number, checkpoint, owner, parents, children. */
    private void put(JsonNode rows) {
        for (JsonNode row : rows) {
            Lease lease = lease(name(row.get(0).asText()), row.get(1).asText(), row.get(2).isNull() ? null : row.get(2).asText());
            lease.parentShardIds(names(row.get(3)));
            lease.childShardIds(names(row.get(4)));
            if (!table.rows.containsKey(lease.leaseKey())) {
                table.put(lease);
            }
        }
    }

    /** Makes the next throw of ShutdownTask's die, of thirty sides, a zero or none. */
    private static void roll(boolean zero) throws ReflectiveOperationException {
        Field die = ShutdownTask.class.getDeclaredField("RANDOM");
        die.setAccessible(true);
        long seed = 0;
        while ((new Random(seed).nextInt(30) == 0) != zero) {
            seed++;
        }
        ((Random) die.get(null)).setSeed(seed);
    }

    private static Lease lease(String key, String checkpoint, String owner) {
        Lease lease = new Lease();
        lease.leaseKey(key);
        lease.leaseOwner(owner);
        lease.leaseCounter(5L);
        lease.checkpoint(new ExtendedSequenceNumber(checkpoint));
        lease.ownerSwitchesSinceCheckpoint(0L);
        lease.parentShardIds(List.of());
        return lease;
    }

    /** A row: number, checkpoint, owner, parents behind "of", children behind "to", "pending". */
    private static String told(Map<String, AttributeValue> row) {
        Lease lease = SERIALIZER.fromDynamoRecord(row);
        return number(lease.leaseKey()) + " " + lease.checkpoint().sequenceNumber() + " " + lease.leaseOwner()
                + " of" + numbers(lease.parentShardIds()) + " to" + numbers(lease.childShardIds())
                + (row.containsKey("startingHashKey") ? " ranged" : "") + (row.containsKey("pendingCheckpoint") ? " pending" : "");
    }

    private static String numbers(Iterable<String> shards) {
        TreeSet<String> sorted = new TreeSet<>();
        shards.forEach(sorted::add);
        StringBuilder text = new StringBuilder();
        sorted.forEach(shard -> text.append(" ").append(number(shard)));
        return text.toString();
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
        Object to(String name, Object[] args) throws Exception;
    }

    @SuppressWarnings("unchecked")
    private static <T> T proxy(Class<T> type, Answer answer) {
        return (T) Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (self, method, args) -> answer.to(method.getName(), args));
    }

    /** A table of one process. Writes down what changes, but for renewals. */
    private static final class Table {
        private final Map<String, Map<String, AttributeValue>> rows = new TreeMap<>();
        private final List<String> steps;

        private Table(List<String> steps) {
            this.steps = steps;
        }

        private void put(Lease lease) {
            Map<String, AttributeValue> row = new HashMap<>(SERIALIZER.toDynamoRecord(lease));
            if (lease.pendingCheckpointState() != null) { // the serializer writes a number there
                row.put("pendingCheckpointState", AttributeValue.builder().b(SdkBytes.fromByteArray(lease.pendingCheckpointState())).build());
            }
            rows.put(lease.leaseKey(), row);
        }

        private DynamoDBLeaseRefresher refresher() {
            DynamoDbAsyncClient client = proxy(DynamoDbAsyncClient.class, (name, args) -> {
                switch (name) {
                    case "getItem": return CompletableFuture.completedFuture(get((GetItemRequest) args[0]));
                    case "putItem": return put((PutItemRequest) args[0]);
                    case "updateItem": return update((UpdateItemRequest) args[0]);
                    default: throw new IllegalStateException(name);
                }
            });
            return new DynamoDBLeaseRefresher("table", client, SERIALIZER, true, TableCreatorCallback.NOOP_TABLE_CREATOR_CALLBACK,
                    Duration.ofMinutes(1), new DdbTableConfig(), false, false, List.of());
        }

        private GetItemResponse get(GetItemRequest request) {
            Map<String, AttributeValue> row = rows.get(request.key().get("leaseKey").s());
            return row == null ? GetItemResponse.builder().build() : GetItemResponse.builder().item(new HashMap<>(row)).build();
        }

        private CompletableFuture<PutItemResponse> put(PutItemRequest request) {
            String key = request.item().get("leaseKey").s();
            if (!holds(request.expected(), rows.get(key))) {
                return refused();
            }
            rows.put(key, new HashMap<>(request.item()));
            steps.add("creates " + told(rows.get(key)));
            return CompletableFuture.completedFuture(PutItemResponse.builder().build());
        }

        private CompletableFuture<UpdateItemResponse> update(UpdateItemRequest request) {
            String key = request.key().get("leaseKey").s();
            if (!holds(request.expected(), rows.get(key))) {
                return refused();
            }
            Map<String, AttributeValue> row = rows.get(key);
            String before = told(row);
            request.attributeUpdates().forEach((name, change) -> {
                if (change.action() == AttributeAction.PUT) {
                    row.put(name, change.value());
                } else if (change.action() == AttributeAction.DELETE) {
                    row.remove(name);
                } else {
                    long sum = Long.parseLong(row.get(name).n()) + Long.parseLong(change.value().n());
                    row.put(name, AttributeValue.builder().n(String.valueOf(sum)).build());
                }
            });
            if (!told(row).equals(before)) {
                steps.add("makes " + told(row));
            }
            return CompletableFuture.completedFuture(UpdateItemResponse.builder().build());
        }

        private static boolean holds(Map<String, ExpectedAttributeValue> expected, Map<String, AttributeValue> row) {
            return expected.entrySet().stream().allMatch(entry -> {
                AttributeValue found = row == null ? null : row.get(entry.getKey());
                boolean absent = entry.getValue().exists() != null && !entry.getValue().exists();
                return absent ? found == null : entry.getValue().value().equals(found);
            });
        }

        private static <T> CompletableFuture<T> refused() {
            CompletableFuture<T> answer = new CompletableFuture<>();
            answer.completeExceptionally(ConditionalCheckFailedException.builder().message("refused").build());
            return answer;
        }
    }
}
