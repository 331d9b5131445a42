import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.slf4j.LoggerFactory;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.LeaseRefresher;
import software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseTaker;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;

/**
 * What a worker of KCL 2.x, or of 3.x that works as 2.x, takes at the last of some looks at a table: one history a line in, an
 * answer a line out. The class DynamoDBLeaseTaker itself runs, often enough that each lease it may choose is chosen once.
 *
 * A look is its moment, and of each lease the owner and the counter (null: the lease is not there).
 *
 * java -cp 'JARS/*' Taker.java
 */
public class Taker {
    private static final int RUNS = 250;
    private static final long LEASE_MILLIS = 10_000;

    public static void main(String[] args) throws Exception {
        ((Logger) LoggerFactory.getLogger("ROOT")).setLevel(Level.OFF);
        ObjectMapper json = new ObjectMapper();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        List<String> answers = new ArrayList<>();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            answers.add(json.writeValueAsString(answer(json.createObjectNode(), json.readTree(line))));
        }
        answers.forEach(System.out::println);
    }

    /** How many leases are taken, whether from another worker that is alive, and which it may be. */
    private static ObjectNode answer(ObjectNode answer, JsonNode question) throws Exception {
        TreeSet<Integer> pool = new TreeSet<>();
        TreeSet<Integer> counts = new TreeSet<>();
        boolean[] steals = {false};
        for (int run = 0; run < RUNS; run++) {
            List<Lease> taken = new ArrayList<>();
            List<Lease> table = new ArrayList<>();
            LeaseRefresher refresher = proxy(LeaseRefresher.class, (name, values) -> {
                if (name.equals("listLeases")) {
                    return new ArrayList<>(table);
                }
                if (!name.equals("takeLease")) {
                    throw new IllegalStateException(name);
                }
                taken.add((Lease) values[0]);
                return false; // the next look shall find what the question says
            });
            DynamoDBLeaseTaker taker = taker(question, refresher);
            Method look = DynamoDBLeaseTaker.class.getDeclaredMethod("takeLeases", Callable.class);
            look.setAccessible(true);
            JsonNode looks = question.get("looks");
            long last = looks.get(looks.size() - 1).get(0).asLong();
            long end = System.nanoTime(); // 2.x asks the clock itself, too
            for (JsonNode seen : looks) {
                table.clear();
                taken.clear();
                table.addAll(leases(seen.get(1)));
                long now = end + (seen.get(0).asLong() - last) * 1_000_000;
                answer.remove("failed");
                try {
                    look.invoke(taker, (Callable<Long>) () -> now);
                } catch (InvocationTargetException e) {
                    answer.put("failed", e.getCause().getClass().getSimpleName()); // it tries again at its next look
                }
            }
            counts.add(taken.size());
            for (Lease lease : taken) {
                pool.add(Integer.parseInt(lease.leaseKey().substring(8)));
                steals[0] |= lease.isMarkedForLeaseSteal();
            }
        }
        if (counts.size() > 1) {
            throw new IllegalStateException(counts + " of " + question);
        }
        pool.forEach(answer.put("takes", counts.first()).put("steals", steals[0]).putArray("of")::add);
        return answer;
    }

    private static DynamoDBLeaseTaker taker(JsonNode question, LeaseRefresher refresher) throws ReflectiveOperationException {
        DynamoDBLeaseTaker taker = new DynamoDBLeaseTaker(refresher, "me", LEASE_MILLIS, new NullMetricsFactory())
                .withMaxLeasesForWorker(question.get("max").asInt()).withMaxLeasesToStealAtOneTime(question.get("steals").asInt());
        try {
            Method priority = DynamoDBLeaseTaker.class.getMethod("withEnablePriorityLeaseAssignment", boolean.class);
            priority.invoke(taker, question.get("priority").asBoolean());
        } catch (NoSuchMethodException e) {
            return taker; // 2.x always does
        }
        return taker;
    }

    private static List<Lease> leases(JsonNode rows) {
        List<Lease> leases = new ArrayList<>();
        for (int i = 0; i < rows.size(); i++) {
            JsonNode row = rows.get(i);
            if (row.isNull()) {
                continue;
            }
            Lease lease = new Lease();
            lease.leaseKey(String.format("shardId-%012d", i));
            lease.leaseOwner(row.get(0).isNull() ? null : row.get(0).asText());
            lease.leaseCounter(row.get(1).asLong());
            lease.checkpoint(ExtendedSequenceNumber.TRIM_HORIZON);
            lease.ownerSwitchesSinceCheckpoint(0L);
            leases.add(lease);
        }
        return leases;
    }

    private interface Answer {
        Object to(String name, Object[] args);
    }

    @SuppressWarnings("unchecked")
    private static <T> T proxy(Class<T> type, Answer answer) {
        return (T) Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (self, method, args) -> answer.to(method.getName(), args));
    }
}
